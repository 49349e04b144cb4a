"""The house of DESIGN section 2: imports go down only, and each library has one door."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "flaxner"

# module -> floor; a module imports lower floors, or those of its own floor that stand before it.
FLOORS = (
    (
        "settings",
        "data_settings",
        "config",
        "labels",
        "hub",
        "card_metadata",
        "sample",
        "progress",
        "interruption",
        "run_folder",
        "allocator",
        "compilation_cache",
        "mistakes",
        "inputs",
    ),
    (
        "weights",
        "readers",
        "corpus",
        "selection",
        "casing",
        "tokenizer",
        "alignment",
        "segment_cache",
        "label_weights",
        "packing",
        "metrics",
        "manifest",
        "processes",
    ),
    (
        "tag_rules",
        "reading",
        "vocabulary",
        "viterbi",
        "aggregation",
        "pipeline_options",
        "overlap",
        "entity_output",
    ),
    ("batches", "models", "decoders"),
    ("sharding", "optimizer"),
    ("step", "checkpoint", "feed", "inference", "classifier", "serving", "word_tagging"),
    (
        "evaluation",
        "pipeline",
        "export",
        "model_card",
        "history",
        "sources",
        "agreement",
        "onnx_export",
        "conversion",
        "publishing",
        "preparation",
        "fingerprint",
    ),
    ("exported", "scoring", "exporting", "answering"),
    ("inspection", "inspection_report", "preflight"),
    (
        "examples",
        "stopping",
        "outcome",
        "cross_validation",
        "trainer",
        "training",
        "embeddings",
        "benchmark",
        "machine_check",
    ),
)
ORDER = {name: i for i, name in enumerate(name for floor in FLOORS for name in floor)}

# third-party library -> the modules that may import it
DOORS = {
    "datasets": {"readers"},
    "pyarrow": {"readers"},
    "spacy": {"readers"},
    "huggingface_hub": {"hub", "card_metadata"},
    "seqeval": {"metrics"},
    "orbax": {"checkpoint"},
    "optax": {"optimizer", "step", "decoders"},
    "transformers": {
        "tokenizer",
        "export",
        "agreement",
        "onnx_export",
        "examples",
        "pipeline",
        "benchmark",
    },
    "tokenizers": {"tokenizer", "pipeline"},
    "torch": {"agreement", "onnx_export", "examples", "benchmark"},
    "onnxruntime": {"agreement"},
    "safetensors": {"weights"},
    "tensorboardX": {"history"},
    "gensim": {"embeddings"},
    "matplotlib": {"embeddings"},
    "rich": {
        "cross_validation",
        "embeddings",
        "progress",
        "trainer",
        "training",
        "outcome",
        "examples",
        "benchmark",
        "inspection_report",
    },
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            yield path, name


def imported(path):
    """Every absolute module name that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module
            if node.module == "flaxner":
                yield from (f"flaxner.{alias.name}" for alias in node.names)


def test_every_module_has_a_floor():
    assert {name for _, name in modules()} <= set(ORDER)


@pytest.mark.parametrize(
    ("path", "name"), list(modules()), ids=lambda value: getattr(value, "stem", "")
)
def test_imports_go_down(path, name):
    for module in imported(path):
        top, _, rest = module.partition(".")
        if top == "flaxner" and rest:
            below = rest.split(".")[0]
            assert below == name or ORDER[below] < ORDER[name], f"{name} imports {below}"
        elif top in DOORS:
            assert name in DOORS[top], f"{top} is imported in {name}"
        elif top not in sys.stdlib_module_names and top != "flaxner":
            assert top in {"jax", "flax", "numpy"}, f"{name} imports {top}"


def test_nnx_stays_in_models():
    for path, name in modules():
        if name != "models":
            assert not re.search(r"\bnnx\b", path.read_text("utf-8")), path


def test_modules_stay_readable():
    for path, _ in modules():
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 330, f"{path.name} has {len(lines)} lines"
        assert "utils" not in path.name


def test_scripts_stay_thin():
    for path in (PACKAGE.parent / "scripts").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 40, path.name
