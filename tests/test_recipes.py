"""Settings of recipes: each does what its paper, or torch, says."""

import dataclasses
import json
import shutil
from unittest import mock

import numpy as np
import pytest

from flaxner.config.train import TrainConfig
from flaxner.data.segments import IGNORED_LABEL
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.pretrained import load_pretrained
from flaxner.publishing.conversion import SavedRun
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.steps import Progress
from flaxner.training.loop import Loop
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import decay_mask, make_optimizer
from flaxner.training.preparation import prepare
from flaxner.training.program import program_of_run
from flaxner.training.rates import SCHEDULES, linear_schedule, peak_rates, rates_by, rates_of
from flaxner.training.used_rows import AllRows
from flaxner.training.watching import nobody
from tests.compare import assert_close, scaled_close
from tests.conll import QUICK, sentences, write_conll
from tests.families import each_family
from tests.runs import start


def settings(**changes):
    return TrainConfig(dataset="flaxner:embedded", model="flaxner:tiny", **changes)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_schedules_equal_those_of_transformers(name, warmup):
    torch = pytest.importorskip("torch")
    import transformers

    theirs = getattr(transformers, f"get_{name}_schedule_with_warmup")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-2)
    steps, first = 20, round(20 * warmup)
    plan = theirs(optimizer, first, *(() if name == "constant" else (steps,)))
    ours = SCHEDULES[name](2e-2, steps, warmup)
    for step in range(steps):
        np.testing.assert_allclose(ours(step), plan.get_last_lr()[0], rtol=1e-5, atol=1e-9)
        optimizer.step()
        plan.step()


def test_rates_per_part_equal_torchs_parameter_groups():
    """Weight decay scales with each group's own rate."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    shapes = {"layers/0/kernel": (4, 3), "layers/1/bias": (3,), "classifier/kernel": (3, 2)}
    peaks = {"layers/0/kernel": 1e-3, "classifier/kernel": 5e-2}
    start = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    theirs = {path: torch.nn.Parameter(torch.tensor(value)) for path, value in start.items()}
    decays = decay_mask(start)
    reference = torch.optim.AdamW(
        [
            {"params": [p], "lr": peaks.get(path, 1e-2), "weight_decay": 0.1 * decays[path]}
            for path, p in theirs.items()
        ]
    )
    plan = torch.optim.lr_scheduler.LambdaLR(reference, lambda step: max(0.0, 1 - step / 10))
    optimizer = make_optimizer()
    rates = rates_by("linear", 10, 0.0, 1e-2, peaks).plan(tuple(start))
    params, opt_state = start, optimizer.init(start)
    for step in range(10):
        grads = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
        for path, grad in grads.items():
            theirs[path].grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.0)
        reference.step()
        plan.step()
        _, now = rates.at(step, tuple(start))
        updates, opt_state = optimizer.update(grads, opt_state, params, rates=now, decay=0.1)
        params = {path: params[path] + updates[path] for path in params}
    ours = {path: np.asarray(value) for path, value in params.items()}
    scaled_close("optimizer", ours, {k: v.detach().numpy() for k, v in theirs.items()})


@each_family
def test_every_parameter_has_the_rate_of_its_layer(family):
    """The top layer has the full rate, each lower layer half; head and CRF have their own."""
    model = dataclasses.replace(family.model(), crf=True)
    layers = model.config.num_hidden_layers
    config = settings(
        learning_rate=1.0, layer_decay=0.5, head_learning_rate=7.0, decoder="crf",
        crf_learning_rate=9.0,
    )  # fmt: skip
    peaks = peak_rates(config, model)
    for path in model.shapes:
        rate = peaks.get(path, config.learning_rate)
        part, *rest = path.split("/")
        if part == "crf":
            assert rate == 9.0
        elif part in ("classifier", "head_dense", "head_norm"):
            assert rate == 7.0
        elif part == "layers":
            assert rate == 0.5 ** (layers - 1 - int(rest[0]))
        elif part == "final_norm":
            assert rate == 1.0
        else:
            assert rate == 0.5**layers, path
    assert peak_rates(settings(), family.model()) == {}


def test_the_settings_reach_the_rates():
    config = settings(schedule="cosine", learning_rate=1e-2, warmup_ratio=0.0)
    rate, _ = rates_of(config, 10, None).plan(()).at(5, ())
    np.testing.assert_allclose(rate, 5e-3, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 1023, 1024, 5000])
def test_the_rates_of_a_run_of_any_length_follow_its_schedule(steps):
    plan = rates_by("linear", steps, 0.1, 2e-2).plan(())
    for step in {0, steps // 20, steps // 2, steps - 1}:
        expected = linear_schedule(2e-2, steps, 0.1)(step)
        # Near the end a falling rate is the difference of numbers near the peak.
        np.testing.assert_allclose(plan.at(step, ())[0], expected, rtol=1e-6, atol=2e-2 * 2**-23)
    assert len(plan.shares) > steps
    assert steps > 1023 or len(plan.shares) == 1024  # one shape, so that programs are shared


@pytest.mark.parametrize("weights", [None, (0.25, 3.0, 1.0, 2.0, 0.5)])
def test_label_smoothing_equals_torchs(weights):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 7, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (3, 7)).astype(np.int32)
    labels[rng.random((3, 7)) < 0.5] = IGNORED_LABEL
    total, weight = Softmax(weights, 0.2).loss(logits, labels)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).reshape(-1, 5),
        torch.tensor(labels.reshape(-1)).long(),
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=0.2,
    )
    np.testing.assert_allclose(total / weight, expected.item(), rtol=1e-6)


@each_family
def test_dropout_is_set_by_name_or_refused(family):
    config = family.model().config
    known = {field.name for field in dataclasses.fields(config)}
    assert set(config.DROPOUTS) == set(EncoderConfig.DROPOUTS)
    assert config.with_dropout(dict.fromkeys(config.DROPOUTS)) == config
    for name, fields in config.DROPOUTS.items():
        if known.issuperset(fields):
            changed = config.with_dropout({name: 0.35})
            differ = {f for f in known if getattr(changed, f) != getattr(config, f)}
            assert differ == set(fields)
            assert {getattr(changed, field) for field in fields} == {0.35}
            assert any(changed.to_hf().values())
        else:
            assert name == "head_dropout"
            with pytest.raises(ValueError, match="has no head_dropout of its own"):
                config.with_dropout({name: 0.35})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return {
        "train_file": str(write_conll(folder / "train.conll", sentences(48))),
        "validation_file": str(write_conll(folder / "dev.conll", sentences(16, shift=1))),
        **QUICK,
        "epochs": 1.0,
        "eval_every": 2,
        "save_every": 1,
        "keep": 10,
    }


def cut(folder, step):
    """Leave a run as if it had been stopped after a step."""
    for name in ("results.json", "hub", "predictions"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (folder / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)


def states(settings, folder, steps):
    """Return the state at the start of a run and after each of some steps."""
    prepared = prepare(TrainConfig(**{**settings, "output_dir": str(folder)}))
    program, _ = program_of_run(prepared)
    like = program.init(prepared.params)
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    found = [like, *(checkpoints.restore(step, like) for step in steps)]
    checkpoints.close()
    return found


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


@pytest.mark.parametrize(
    "change", [{"ema": 0.9}, pytest.param({"average_last": 2}, marks=pytest.mark.slow)], ids=str
)
def test_averaged_weights_are_evaluated_published_and_resumed(corpus, change, tmp_path):
    settings, whole = {**corpus, **change}, tmp_path / "whole"
    result = start(settings, whole, select="last")
    every = states(settings, whole, range(1, 7))
    raw = [host(state.params) for state in every]
    if "ema" in change:
        mean = raw[0]
        for step, params in enumerate(raw[1:]):
            kept = np.float32(min(0.9, (1 + step) / (10 + step)))
            mean = {k: kept * mean[k] + (1 - kept) * params[k] for k in mean}
    else:
        mean = {k: (raw[4][k] + raw[6][k]) / np.float32(2) for k in raw[0]}
        assert_close("exact", host(every[2].published), raw[2])  # one evaluation: its own weights
    published = load_pretrained(result.hub_dir).params
    scaled_close("packing", published, mean)
    assert_close("exact", SavedRun.open(whole).params(6), published)
    assert any((published[k] != raw[6][k]).any() for k in published)
    for step in (3,):
        again = tmp_path / f"cut-{step}"
        shutil.copytree(whole, again)
        cut(again, step)
        resumed = start(settings, again, select="last", resume=True)
        assert_close("exact", load_pretrained(resumed.hub_dir).params, published)
        lines = [(run / "metrics.jsonl").read_text() for run in (whole, again)]
        assert lines[0] == lines[1]


def test_training_stops_early_without_improvement(corpus, tmp_path):
    """The first evaluation is an improvement; with a rate of 0 no later one is.

    None of them finds an entity, so the last model is kept.
    """
    folder, still = tmp_path / "run", {**corpus, "learning_rate": 0.0, "early_stopping": 2}
    longer = {**still, "epochs": 3.0}
    train_results = start(longer, folder).results["train"]
    assert (train_results["steps"], train_results["planned_steps"]) == (6, 18)
    assert train_results["best_step"] == 6
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if line.get("split")] == [2, 4, 6]
    assert start(longer, folder, resume=True).results["train"]["steps"] == 6
    cut(folder, 6)  # killed between its last step and its results
    again = start(longer, folder, resume=True).results["train"]
    assert (again["steps"], again["best_step"]) == (6, 6)


@pytest.mark.parametrize("select", ["best", "last"])
def test_only_a_new_best_is_called_best_so_far(select):
    said, scores = [], iter([0.5, 0.4, 0.45])
    loop = Loop.__new__(Loop)
    loop.config = settings(select=select)
    loop.progress, loop.watch, loop.held = Progress(), nobody, mock.MagicMock()
    loop.prepared = mock.Mock(corpora={"validation": None})
    loop.program = mock.Mock(**{"steps.evaluated": lambda state: state})
    loop.batches = mock.Mock(steps_per_epoch=1)
    loop.judge, loop.table = mock.Mock(), AllRows()
    loop.judge.score = lambda *_: (score_of(next(scores)), None)
    for step in (1, 2, 3):
        assert loop._evaluate(step, mock.Mock(), mock.Mock(say=said.append))
    assert [line.endswith("best so far") for line in said] == [True, False, False]
    assert loop.progress.best_step == (1 if select == "best" else 3)


def score_of(f1):
    names = ("precision", "recall", "f1", "accuracy")
    return mock.Mock(**{f"overall_{name}": f1 for name in names})


def test_incompatible_settings_are_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="--early-stopping needs a validation corpus"):
        start({**corpus, "validation_file": None}, tmp_path / "a", early_stopping=1)
    with pytest.raises(ValueError, match="--ema and --average-last are mutually exclusive"):
        settings(ema=0.9, average_last=2)
    with pytest.raises(
        ValueError, match="--decoder crf and --label-smoothing are mutually exclusive"
    ):
        settings(decoder="crf", label_smoothing=0.1)
    with pytest.raises(ValueError, match="--crf-learning-rate requires --decoder crf"):
        settings(crf_learning_rate=0.5)
    with pytest.raises(ValueError, match="layer_decay must be above 0: got 0"):
        settings(layer_decay=0.0)
