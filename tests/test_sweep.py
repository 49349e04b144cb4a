"""Sweeps: valid spaces, resuming a stopped sweep as if it had not stopped, and a real one."""

import json
import re
import types
import warnings

import pytest

from flaxner.commands import console
from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.sentence import Sentence
from flaxner.sweep.space import Choice, Range, read_space
from flaxner.training import shared
from flaxner.training.stopping import NotFinite, RunStopped
from tests.buckets import as_in_a_bucket
from tests.conll import QUICK, sentences, write_conll
from tests.hostile.trees import nothing_lost, plant, unchanged

RATE = "learning_rate = {low = 1e-5, high = 1e-2, log = true}\n"


def space_file(folder, space=RATE, settings='train_file = "x"\n'):
    path = folder / "space.toml"
    path.write_text(f"{settings}[space]\n{space}", "utf-8")
    return path


def test_a_space_is_read(tmp_path):
    text = RATE + "batch_size = [8, 16]\nepochs = {low = 1, high = 3, step = 0.5}\n"
    text += "accumulate = {low = 1, high = 4}\nclass_weights = ['none', 'sqrt']\n"
    space = read_space(space_file(tmp_path, text))
    assert space.dimensions == {
        "learning_rate": Range(1e-5, 1e-2, whole=False, log=True),
        "batch_size": Choice((8, 16)),
        "epochs": Range(1.0, 3.0, whole=False, step=0.5),
        "accumulate": Range(1, 4, whole=True),
        "class_weights": Choice(("none", "sqrt")),
    }
    config = space.config({"batch_size": 16, "class_weights": "sqrt"})
    assert (config.train_file, config.batch_size, config.class_weights) == ("x", 16, ("sqrt",))
    assert config.dataset is None  # the default preset's corpus is not mixed in


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("", "has nothing to search: add a table"),
        ("lerning_rate = [1, 2]", "unknown setting 'lerning_rate'; did you mean learning_rate"),
        ("learning_rate = []", "learning_rate has nothing to choose from"),
        ("learning_rate = 1e-5", "must be a list of choices or"),
        ("learning_rate = {low = 1e-5}", "learning_rate needs both low and high"),
        ("learning_rate = {low = 1e-2, high = 1e-5}", "low must be below high"),
        ("learning_rate = {low = 0, high = 1, log = true}", "with log = true, low must be above 0"),
        ("learning_rate = {low = 0, high = 1, lag = true}", "unknown key 'lag'; use low"),
        ("learning_rate = ['a', 'b']", "learning_rate must be a number: got 'a'"),
        ("learning_rate = {low = -1, high = 1}", "learning_rate must be at least 0: got -1"),
        ("batch_size = {low = 0.5, high = 8}", "batch_size: low must be a whole number: got 0.5"),
        ("batch_size = [8, 8]", "must list distinct"),
        ("schedule = {low = 1, high = 2}", "schedule is not a number: list its choices"),
        ("schedule = ['linear', 'square']", "schedule must be one of linear"),
        ("seed = [0, 1]", r"seed cannot be in \[space\]"),
        ("held_out = [0.1, 0.2]", r"held_out cannot be in \[space\]"),
        ("span_policy = ['widen', 'drop']", r"span_policy cannot be in \[space\]"),
        ("tag_column = ['1', '2']", r"tag_column cannot be in \[space\]"),
        ("train_file = ['x', 'y']", "train_file cannot be in|is both set and in"),
    ],
)
def test_spaces_that_are_refused(space, message, tmp_path, capsys):
    path = space_file(tmp_path, space)
    with pytest.raises(ValueError, match=message):
        read_space(path)
    arguments = ["sweep", str(path), "--output-dir", str(tmp_path / "out")]
    assert console.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert not (tmp_path / "out").exists()


def test_settings_that_a_sweep_refuses(tmp_path):
    for settings, message in {
        'train_file = "x"\noutput_dir = "y"\n': "output_dir is not a setting of a sweep",
        'train_file = "x"\nseeds = 3\n': "a trial is a single run",
        'train_file = "x"\nlearning_rate = 1.0\n': "learning_rate is both set and in",
        "nonsense": "is not valid TOML",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_space(space_file(tmp_path, settings=settings))
    with pytest.raises(ValueError, match=r"cannot read the space .*: No such file"):
        read_space(tmp_path / "none.toml")


class Trainer:
    """Stands in for training: F1 is best at a rate of 1e-3; records the rates it is given."""

    def __init__(self):
        self.rates, self.stop_at, self.fail = [], None, False

    def __call__(self, config, *, console, watch, shared):
        rate = config.learning_rate
        if len(self.rates) == self.stop_at:
            self.stop_at = None
            raise RunStopped("SIGINT: stopped; saved up to step 3; resume with: train.py")
        self.rates.append(rate)
        if self.fail:
            raise ValueError("the loss is nan at step 1: try ...; kept: ...") from NotFinite(
                "the loss is nan at step 1"
            )
        from math import log10

        f1 = 1 / (1 + (log10(rate) + 3) ** 2)
        for epoch in (1, 2, 3):
            watch(10 * epoch, float(epoch), f1 * epoch / 3)
        return types.SimpleNamespace(results={"validation": {"overall_f1": f1}})


@pytest.fixture
def trained(monkeypatch):
    study = pytest.importorskip("flaxner.sweep.study", reason="no Optuna", exc_type=ImportError)
    fake = Trainer()
    monkeypatch.setattr(study, "train", fake)
    corpora = types.SimpleNamespace(corpora={"validation": []}, warnings=())
    monkeypatch.setattr(shared, "prepare", lambda config: corpora)
    monkeypatch.setattr(study, "page", lambda study, folder: "page")
    return fake


def test_trials_on_different_sentences_are_not_compared(trained, tmp_path, monkeypatch):
    from flaxner.sweep.study import sweep

    space = read_space(space_file(tmp_path))
    sweep(space, tmp_path / "out", trials=1)
    corpora = types.SimpleNamespace(corpora={"validation": [Sentence(("a",), ("O",))]}, warnings=())
    monkeypatch.setattr(shared, "prepare", lambda config: corpora)
    with pytest.raises(ValueError, match="the content of the validation corpus has changed"):
        sweep(space, tmp_path / "out", trials=2, resume=True)
    assert len(trained.rates) == 1
    assert sweep(space, tmp_path / "out", trials=1, resume=True)["best_trial"] == 0


def test_a_stopped_sweep_resumes_as_if_it_had_not_stopped(trained, tmp_path):
    from flaxner.sweep.study import sweep

    space = read_space(space_file(tmp_path))
    whole = sweep(space, tmp_path / "whole", trials=14)
    rates, trained.rates = trained.rates, []
    assert len(set(rates)) == 14
    trained.stop_at = 11
    with pytest.raises(
        RunStopped, match=r"SIGINT: stopped in trial 11; resume with: .* --resume"
    ) as e:
        sweep(space, tmp_path / "out", trials=14)
    assert e.value.code == 75
    with (tmp_path / "out" / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "half a li')  # killed while writing
    with pytest.raises(ValueError, match="continue it with --resume"):
        sweep(space, tmp_path / "out", trials=14)
    with pytest.raises(ValueError, match=r"cannot resume .*: the seed differs: 0 before, 1 now"):
        sweep(space, tmp_path / "out", trials=14, seed=1, resume=True)
    other = read_space(space_file(tmp_path, RATE.replace("1e-2", "1e-1")))
    with pytest.raises(ValueError, match=r"cannot resume .*: learning_rate differs"):
        sweep(other, tmp_path / "out", trials=14, resume=True)
    found = sweep(space, tmp_path / "out", trials=14, resume=True)
    assert trained.rates == rates
    assert (found["best_trial"], found["f1"]) == (whole["best_trial"], whole["f1"])
    journal = [json.loads(line) for line in (tmp_path / "out" / "journal.log").open()]
    ends = [line["state"] for line in journal if "state" in line and "trial_id" in line]
    assert 2 in ends  # Optuna's number for a pruned trial: the median rule was applied
    best = TrainConfig(**load_settings(tmp_path / "out" / "best.toml"))
    assert best.learning_rate == found["values"]["learning_rate"]
    assert best.output_dir == str(tmp_path / "out" / "best")
    assert not best.resume


def test_failed_trials_are_skipped(trained, tmp_path, monkeypatch):
    """The journal needs no links, which some mounted buckets do not have."""
    as_in_a_bucket(monkeypatch)
    from flaxner.sweep.study import sweep

    trained.fail = True
    with pytest.raises(ValueError, match=r"none of 2 trials .*: the loss is nan at step 1$"):
        sweep(read_space(space_file(tmp_path)), tmp_path / "out", trials=2)
    trained.fail = False
    found = sweep(read_space(space_file(tmp_path)), tmp_path / "out", trials=3, resume=True)
    assert found["best_trial"] == 2


def test_warnings_of_plots_are_not_printed(trained, tmp_path, monkeypatch):
    from flaxner.sweep import study

    def drawn(*_):
        warnings.warn("the limits are identical", UserWarning, stacklevel=1)
        return "page"

    monkeypatch.setattr(study, "page", drawn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study.sweep(read_space(space_file(tmp_path)), tmp_path / "out", trials=1)
    assert not [warning for warning in caught if "limits" in str(warning.message)]


def test_a_folder_that_is_not_a_sweeps_is_refused(trained, tmp_path):
    from flaxner.sweep.study import sweep

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"contains 'notes\.txt', which no sweep wrote"):
        sweep(read_space(space_file(tmp_path)), tmp_path / "out", trials=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_a_sweep_that_cannot_start_leaves_no_sweep(trained, tmp_path, monkeypatch):
    """The corrected command used to be told to resume a sweep without trials."""
    from flaxner.sweep.study import sweep

    def missing(config):
        raise ValueError("there is no model folder 'none'")

    space, good = read_space(space_file(tmp_path)), shared.prepare
    monkeypatch.setattr(shared, "prepare", missing)
    with pytest.raises(ValueError, match="no model folder"):
        sweep(space, tmp_path / "out", trials=1)
    monkeypatch.setattr(shared, "prepare", good)
    other = read_space(space_file(tmp_path, space="learning_rate = [1e-3, 1e-2]"))
    assert sweep(other, tmp_path / "out", trials=1)["best_trial"] == 0


def test_a_sweep_leaves_what_others_put_into_its_folder(trained, tmp_path):
    from flaxner.sweep.study import sweep

    space, out = read_space(space_file(tmp_path)), tmp_path / "out"
    plant(out, [".env"])
    with unchanged(out, tmp_path / "space.toml"):
        sweep(space, out, trials=2)
    others = plant(out, ["thesis.tex", "src/main.py", "trial-0/mine.txt", "trial-0/hub/mine.txt"])
    (out / "best.toml").write_text("# my remarks\n")
    with unchanged(*others), nothing_lost(out / "best.toml", *others):
        sweep(space, out, trials=4, resume=True)
    assert (out / "best.toml.before-1").read_text() == "# my remarks\n"


def test_a_real_sweep(tmp_path, capsys):
    pytest.importorskip("optuna")
    files = {"train": sentences(24), "validation": sentences(12, 1), "test": sentences(12, 2)}
    settings = {**QUICK, "epochs": 2.0}
    for split, made in files.items():
        settings[f"{split}_file"] = str(write_conll(tmp_path / f"{split}.conll", made))
    del settings["learning_rate"]
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    path, out = space_file(tmp_path, RATE, text), tmp_path / "out"
    arguments = ["sweep", str(path), "--trials", "2", "--output-dir", str(out)]
    assert console.main(arguments) == 0
    told = capsys.readouterr().out
    best = int(re.search(r"best: trial (\d)", told)[1])
    runs = [json.loads((out / f"trial-{i}" / "results.json").read_text()) for i in (0, 1)]
    scores = [run["validation"]["overall_f1"] for run in runs]
    assert scores[best] == max(scores)
    assert "test" not in runs[0]  # the test split plays no part in the choice
    assert [(out / f"trial-{i}" / "hub").exists() for i in (0, 1)] == [best == 0, best == 1]
    assert [(out / f"trial-{i}" / "checkpoints").exists() for i in (0, 1)] == [best == 0, best == 1]
    other = str(out / f"trial-{1 - best}")
    assert console.main(["convert", other]) == 2
    told = f"the run in {other} has no checkpoints any more: they were deleted, as a sweep does"
    assert told in capsys.readouterr().err
    config = TrainConfig(**load_settings(out / "best.toml"))
    assert config.test_file == settings["test_file"]
    page = (out / "sweep.html").read_text("utf-8")
    assert f"<h1>Sweep in {out}</h1>" in page
    assert f'<tr class="best"><td>{best}</td><td class="n">{max(scores):.4f}</td>' in page
    assert f'href="trial-{best}/report.html"' in page
    assert (out / f"trial-{best}" / "report.html").is_file()
    line = (out / f"trial-{best}" / "speed.jsonl").read_text().splitlines()[-1]
    seconds = json.loads(line)["seconds"]  # time spent training, not from start to end
    assert f'<td class="n">{seconds:.0f}</td><td>complete</td>' in page
    pytest.importorskip("matplotlib")
    assert page.count("data:image/png;base64,") >= 3
    assert console.main(arguments) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    (out / f"trial-{best}" / "speed.jsonl").write_text("damaged\n\n")
    assert console.main([*arguments, "--resume"]) == 0
    assert '<td class="n"></td><td>complete</td>' in (out / "sweep.html").read_text("utf-8")
