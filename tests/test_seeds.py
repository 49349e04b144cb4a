"""Several seeds in one run: each equals its single run, and a stopped run resumes."""

import json
import os
import shutil
import signal
import statistics

import pytest

from flaxner.audit.held_out import read_held_out
from flaxner.commands import console
from flaxner.config.train import TrainConfig
from flaxner.evaluation.comparison import read_system
from flaxner.publishing.push import push_to_hub
from flaxner.publishing.saved_run import SavedRun
from flaxner.reporting.record import read_runs
from flaxner.runs.folder import RunFolder
from flaxner.training import told
from flaxner.training.loop import Loop
from flaxner.training.stopping import RunStopped
from tests.conll import quick_settings
from tests.runs import start_and_read as start

SEEDS = {"seed": 3, "seeds": 2}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return quick_settings(tmp_path_factory.mktemp("corpus"))


def weights(folder):
    return (folder / "hub" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def seeds(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "seeds", **SEEDS)


def test_the_results_report_mean_deviation_and_each_seed(seeds):
    result, told = seeds
    out = result.output_dir
    summary = json.loads((out / "results.json").read_text())
    page = (out / "report.html").read_text("utf-8")
    assert "runs side by side" in page
    assert summary == result.results
    assert summary["seeds"] == [3, 4]
    own = [json.loads((out / f"seed-{s}" / "results.json").read_text()) for s in (3, 4)]
    for split in ("validation", "test"):
        scores = [one[split]["overall_f1"] for one in own]
        f1 = summary[split]["overall_f1"]
        assert f1["seeds"] == scores
        assert f1["mean"] == pytest.approx(statistics.fmean(scores))
        assert f1["std"] == pytest.approx(statistics.stdev(scores))
        assert f"{split}, mean of 2 seeds: " in told
        assert f"{f1['mean']:.4f} ± {f1['std']:.4f}" in told
        assert f">{100 * f1['mean']:.2f} ± {100 * f1['std']:.2f}<" in page
    validation = summary["validation"]["overall_f1"]["seeds"]
    best = summary["best_seed"]
    assert validation[summary["seeds"].index(best)] == max(validation)
    assert result.hub_dir == out / "hub"
    assert weights(out) == weights(out / f"seed-{best}")
    assert weights(out / "seed-3") != weights(out / "seed-4")
    card = (out / "hub" / "README.md").read_text("utf-8")
    assert "### Over 2 seeds" in card
    assert (
        f"This model is the one from seed {best}, chosen for the best score on validation" in card
    )
    test = summary["test"]["overall_f1"]
    assert (
        f"| **mean** | {validation_mean(summary)} | {test['mean']:.4f} ± {test['std']:.4f} |"
        in card
    )
    assert f"| 3 | {validation[0]:.4f} | {test['seeds'][0]:.4f} |" in card


def validation_mean(summary):
    f1 = summary["validation"]["overall_f1"]
    return f"{f1['mean']:.4f} ± {f1['std']:.4f}"


def test_stopped_in_the_middle_of_a_seed_it_resumes_to_the_same_bits(
    seeds, settings, tmp_path, monkeypatch
):
    out, save, sent = tmp_path / "out", Loop._save, []

    def stopped(self, step, *args):
        save(self, step, *args)
        if self.run.path.name == "seed-4" and not sent:
            sent.append(step)  # after the first of two epochs
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_save", stopped)
        with pytest.raises(RunStopped, match=r"out/config\.toml --resume") as error:
            start(settings, out, **SEEDS)
    assert error.value.code == 75
    assert not (out / "results.json").exists()
    assert not (out / "hub").exists()
    with pytest.raises(ValueError, match="already holds a run: continue that run with --resume"):
        start(settings, out, **SEEDS)
    result, told = start(settings, out, **SEEDS, resume=True)
    assert told.count("has finished: nothing left to do") == 1
    assert "resuming from step " in told
    for folder in ("seed-3", "seed-4", "."):
        assert weights(out / folder) == weights(seeds[0].output_dir / folder)
    for split in ("validation", "test"):
        assert result.results[split] == seeds[0].results[split]


@pytest.mark.slow
def test_a_seed_equals_its_single_run(seeds, settings, tmp_path):
    start(settings, tmp_path / "one", seed=4)
    assert weights(tmp_path / "one") == weights(seeds[0].output_dir / "seed-4")


def test_a_run_of_seeds_resumes_only_as_itself(seeds, settings, tmp_path):
    out = shutil.copytree(seeds[0].output_dir, tmp_path / "out")
    for changes in ({}, {"seed": 4, "seeds": 2}, {"seed": 4}):
        with pytest.raises(ValueError, match="contains seed-3, which the settings do not include"):
            start(settings, out, **changes, resume=True)
    with pytest.raises(ValueError, match="is a single run"):
        start(settings, out / "seed-3", **SEEDS, resume=True)
    shutil.rmtree(out / "seed-3" / "checkpoints")
    with pytest.raises(ValueError, match="is a single run"):
        start(settings, out / "seed-3", **SEEDS, resume=True)


def test_a_refused_resume_changes_nothing(seeds, settings, tmp_path):
    """The settings and scores of the whole still describe the seeds that are there."""
    out = shutil.copytree(seeds[0].output_dir, tmp_path / "out")
    before = {name: (out / name).read_bytes() for name in ("config.toml", "results.json")}
    with pytest.raises(ValueError, match=r"cannot resume .*: learning_rate differs"):
        start(settings | {"learning_rate": 1e-3}, out, **SEEDS, resume=True)
    assert before == {name: (out / name).read_bytes() for name in before}
    shutil.rmtree(out / "seed-3" / "checkpoints")  # so that seed-3 has nothing to compare with
    (out / "seed-3" / "results.json").unlink()
    with pytest.raises(ValueError, match=r"cannot resume .*seed-4: learning_rate differs"):
        start(settings | {"learning_rate": 1e-3}, out, **SEEDS, resume=True)
    assert before == {name: (out / name).read_bytes() for name in before}


def test_ended_seeds_are_not_repeated_if_their_checkpoints_were_deleted(seeds, settings, tmp_path):
    out = shutil.copytree(seeds[0].output_dir, tmp_path / "out")
    for folder in out.glob("seed-*/checkpoints"):
        shutil.rmtree(folder)
    before = {path: path.read_bytes() for path in out.glob("seed-*/**/*.toml")}
    for changes in ({"learning_rate": 1e-3}, {"head_learning_rate": 1e-3}):
        with pytest.raises(
            ValueError, match=rf"cannot resume .*seed-3: {next(iter(changes))} differs"
        ):
            start(settings | changes, out, **SEEDS, resume=True)
    assert before == {path: path.read_bytes() for path in before}
    result, told = start(settings, out, **SEEDS, resume=True)
    assert told.count("has finished: nothing left to do") == 2
    assert "step 0" not in told
    assert result.results["validation"] == seeds[0].results["validation"]


def test_examples_are_shown_once(seeds, monkeypatch):
    """A run that had finished before --resume has nothing new to show."""
    shown, out = [], seeds[0].output_dir
    monkeypatch.setattr("flaxner.training.examples.show_examples", shown.append)
    monkeypatch.setattr("flaxner.training.run.train", lambda config: seeds[0])
    resume = ["train", "--config", str(out / "config.toml"), "--output-dir", str(out), "--resume"]
    assert console.main(resume) == 0
    assert not shown
    assert console.main(resume[:-1]) == 0
    assert shown == [seeds[0].hub_dir]


def test_a_copy_without_hidden_files_publishes_the_whole_model(seeds, settings, tmp_path):
    """It has lost the records of what flaxner wrote into the Hub folders."""
    out = shutil.copytree(seeds[0].output_dir, tmp_path / "out", ignore=lambda _, names: [
        name for name in names if name.startswith(".")
    ])  # fmt: skip
    before = {path.name: path.read_bytes() for path in (out / "hub").iterdir() if path.is_file()}
    start(settings, out, **SEEDS, resume=True)
    assert before == {name: (out / "hub" / name).read_bytes() for name in before}
    best = out / f"seed-{seeds[0].results['best_seed']}"
    (best / "hub" / "model.safetensors").unlink()
    lacking = rf"seed-\d/hub lacks model.safetensors: write .* with flaxner convert {best}"
    with pytest.raises(ValueError, match=lacking):
        start(settings, out, **SEEDS, resume=True)
    assert before == {name: (out / "hub" / name).read_bytes() for name in before}


@pytest.mark.slow
def test_more_seeds_are_added_and_one_run_replaces_them(seeds, settings, tmp_path):
    out = shutil.copytree(seeds[0].output_dir, tmp_path / "out")
    result, told = start(settings, out, seed=3, seeds=3, resume=True)
    assert told.count("has finished: nothing left to do") == 2
    assert result.results["seeds"] == [3, 4, 5]
    start(settings, out, epochs=0.5, overwrite=True)  # one run in their place
    assert not list(out.glob("seed-*"))


def test_compare_reads_runs_of_seeds(seeds, capsys):
    out = seeds[0].output_dir
    assert read_system(out).seeds == [3, 4]
    assert console.main(["compare", str(out), str(out), "--resamples", "100"]) == 0
    assert "do not differ significantly" in " ".join(capsys.readouterr().out.split())


def test_a_report_shows_every_seed_and_an_audit_reads_the_published_one(seeds):
    out = seeds[0].output_dir
    assert [record.config.seed for record in read_runs(out)] == [3, 4]
    assert len(read_held_out(out)[0]) == 12 + 12


def test_trackers_group_the_seeds(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "five" / "seed-1")
    run.path.mkdir(parents=True)
    config = TrainConfig(train_file="x", output_dir=str(run.path), report_to=("wandb",))
    monkeypatch.setattr(told, "Trackers", lambda names, session, *_: session)
    assert told.open_trackers(config, run, print, resumed=False).group is None
    run.restart = tmp_path / "five" / "config.toml"
    assert told.open_trackers(config, run, print, resumed=False).group == "five"


def test_only_a_single_seed_can_be_converted(seeds):
    out, best = seeds[0].output_dir, seeds[0].results["best_seed"]
    with pytest.raises(ValueError, match=f"holds 2 runs: name one, such as .*/seed-{best}$"):
        SavedRun.open(out)
    with pytest.raises(ValueError, match="holds 2 runs: name one"):
        push_to_hub(out, "user/ner")
    assert SavedRun.open(out / f"seed-{best}").best_step is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1: got 0"),
        (
            {"seed": 2**32 - 1, "seeds": 2},
            r"seeds must all be below 2\*\*32: got 2 seeds starting at 4294967295",
        ),
        (
            {"seeds": 2, "cross_validation": 3},
            "--seeds and --cross-validation are mutually exclusive",
        ),
    ],
)
def test_invalid_seeds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(train_file="x", **changes)
