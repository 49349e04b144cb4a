"""What the steps ask of TPUs and GPUs, read in the programs that their compilers are given."""

import re

import pytest

from flaxner.config.train import TrainConfig
from flaxner.models.layers.compute import Compute
from flaxner.models.vectors import StaticConfig, StaticModel
from flaxner.training.program import make_program
from tests.families import LEADS, each_network

WIDE = re.compile(r"stablehlo\.dot_general.*: \(tensor<[\dx]*xf32>, ")
NARROW_SUM = re.compile(
    r"stablehlo\.reduce\(.*applies stablehlo\.add .*: \(tensor<[\dx]*(?:bf16|f16)>"
)


def lowered(model, platform, kind="train"):
    """The text of a step, as the compiler of a platform is given it."""
    program = make_program(TrainConfig(dataset="flaxner:embedded"), model, 10)
    state = program.abstract_state()
    batch = program.abstract_batch(8, 32, labelled=kind == "train")
    given = (state if kind == "train" else state.params, batch)
    return (
        getattr(program.steps, kind).trace(*given).lower(lowering_platforms=(platform,)).as_text()
    )


def products(text):
    """The lines of products whose operands are float32."""
    return [line for line in text.splitlines() if WIDE.search(line)]


@each_network
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_float32_is_float32(family, platform):
    """By default GPUs round the operands of a product to TF32, and TPUs to bfloat16."""
    kind = "gpu" if platform == "cuda" else platform
    found = products(lowered(family.model(Compute.on(kind, "float32")), platform))
    assert len(found) > 20
    assert not [line for line in found if "precision = [HIGHEST, HIGHEST]" not in line]


def test_tf32_is_asked_for_by_name():
    found = products(lowered(LEADS["deberta-v2"].model(Compute.on("gpu", "tf32")), "cuda"))
    rounded = [line for line in found if "lhs_precision_type = tf32" in line]
    head = [line for line in found if "x5xf32>" in line]  # of five labels, in float32 always
    assert len(rounded) > 20
    assert all(("HIGHEST" in line) != (line in rounded) for line in found)
    assert not set(head) & set(rounded)
    for platform in ("cpu", "tpu"):
        with pytest.raises(
            ValueError, match=f"of NVIDIA GPUs, and this is for a {platform.upper()}"
        ):
            Compute.on(platform, "tf32")


def test_the_taggers_of_static_vectors_are_float32():
    model = StaticModel(StaticConfig(rows=20, width=8, num_labels=5, window=1, hidden=8))
    found = products(lowered(model, "cuda"))
    assert len(found) == 6
    assert not [line for line in found if "precision = [HIGHEST, HIGHEST]" not in line]


@each_network
def test_sums_are_taken_in_float32(family):
    """Gradients of biases and norms are sums over all tokens, and over the devices."""
    text = lowered(family.model(Compute.on("gpu", "bfloat16")), "cuda")
    assert "xbf16>" in text
    assert not NARROW_SUM.search(text)
