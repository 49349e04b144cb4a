"""Consecutive runs that share what was read and compiled."""

import collections

import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.training.run import train
from flaxner.training.shared import Shared
from tests.conll import quick_settings

OTHER = {
    "seed": 5,
    "learning_rate": 1e-3,
    "head_learning_rate": 5e-3,
    "layer_decay": 0.8,
    "schedule": "cosine",
    "warmup_ratio": 0.3,
    "weight_decay": 0.1,
    "epochs": 2.0,
    "batch_size": 64,
}


@pytest.fixture
def settings(tmp_path):
    return quick_settings(tmp_path)


def run(settings, folder, shared=None, **changes):
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    return train(config, console=Console(quiet=True), shared=shared)


def test_sharing_changes_no_results_and_compiles_nothing_again(settings, tmp_path):
    twice = (settings["train_file"],) * 2  # enough rows for two shapes on 8 devices
    settings = settings | {"train_file": twice, "row_length": settings["max_length"]}
    shared = Shared()
    run(settings, tmp_path / "first", shared, epochs=1.0)
    traces = shared._program.steps.traces
    lent = run(settings, tmp_path / "lent", shared, **OTHER)
    assert shared._program.steps.traces is traces
    assert max(collections.Counter(traces).values()) == 1
    alone = run(settings, tmp_path / "alone", **OTHER)
    files = [made.hub_dir / "model.safetensors" for made in (lent, alone)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert lent.results["test"] == alone.results["test"]
    for name in ("compilations", "shapes"):
        assert lent.results["train"][name] == alone.results["train"][name]


@pytest.mark.parametrize("changes", [{"seed": 5}, {"batch_size": 2}, {"epochs": 9.0}])
def test_with_a_crf_runs_share_their_program(settings, changes):
    """Its width depends on the corpus, not on the rows of a particular run."""
    settings = settings | {"row_length": settings["max_length"]}
    shared, config = Shared(), TrainConfig(**settings, decoder="crf")
    made = [shared.compute(shared.prepared(each)) for each in (config, config.replace(**changes))]
    (first, _), (second, batches) = made
    assert second.steps.traces is first.steps.traces  # compiled once for both
    shapes = [
        {name: array.shape for name, array in program.arrays(batches.at(0)).items()}
        for program in (first, second)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_with_a_crf_sharing_changes_no_results(settings, tmp_path):
    test_sharing_changes_no_results_and_compiles_nothing_again(
        {**settings, "decoder": "crf"}, tmp_path
    )


@pytest.mark.parametrize(
    ("changes", "lent"),
    [
        ({"output_dir": "elsewhere", **OTHER}, True),
        ({"max_grad_norm": 0.1}, False),
        ({"max_length": 64}, False),
        ({"dropout": 0.2}, False),
        ({"accumulate": 2}, False),
    ],
)
def test_which_runs_share(settings, changes, lent):
    shared = Shared()
    config = TrainConfig(**settings)
    first = shared.prepared(config)
    other = config.replace(**changes)
    assert shared.lends_to(other) == lent
    assert (shared.prepared(other).segments is first.segments) == lent
