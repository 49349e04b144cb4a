"""Every command that writes, with other people's files beside and inside its target."""

import json
import os
import shutil

import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data import segment_cache
from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.files.records import RECORD
from flaxner.inference.pipeline import pipeline
from flaxner.publishing.conversion import SavedRun, convert
from flaxner.publishing.push import convert_and_push
from flaxner.runs.paths import is_run
from flaxner.training.run import train
from flaxner.training.stopping import RunStopped
from tests.conll import QUICK, sentences, write_conll
from tests.hostile.trees import commit_all, nothing_lost, plant, tree, unchanged
from tests.wordpiece import tiny_tokenizer

STEPS = 6


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return QUICK | {
        "train_file": str(write_conll(folder / "train.conll", sentences(24))),
        "validation_file": str(write_conll(folder / "dev.conll", sentences(8, shift=1))),
        "epochs": 2.0,
        "save_every": 1,
    }


def start(settings, folder, *, lines=None, **changes):
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    console = Console(quiet=True) if lines is None else Console(file=lines, width=1000)
    return train(config, console=console)


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole").output_dir


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def unfinished(run):
    """As a run that was stopped after its last step, before it was scored."""
    shutil.rmtree(run / "hub")
    shutil.rmtree(run / "predictions")
    (run / "results.json").unlink()


def said_by(settings, folder, tmp_path, **changes):
    with (tmp_path / "said").open("w+") as said:
        start(settings, folder, lines=said, **changes)
        said.seek(0)
        return said.read()


# -- convert_and_push ------------------------------------------------------------------------------


def test_convert_into_a_project_is_refused(run, tmp_path):
    project = tmp_path / "project"
    plant(project)
    plant(project, ["config.json"])
    commit_all(project)
    with unchanged(tmp_path), pytest.raises(ValueError, match=r"config\.json is in the way"):
        convert(run, output_dir=project)


def test_convert_beside_others_and_again(run, tmp_path):
    target = tmp_path / "target"
    plant(target)
    plant(tmp_path, ["beside.txt"])
    with unchanged(target, tmp_path / "beside.txt", run):
        convert(run, output_dir=target)
        convert(run, output_dir=target, step=SavedRun.open(run).steps[-1], dtype="bfloat16")
    assert pipeline("ner", model=target)("Berlin") is not None


def test_convert_keeps_an_edited_card(run):
    card = run / "hub" / "README.md"
    card.write_text("my card")
    with unchanged(card):
        lines = list(
            convert_and_push(
                str(run), push_to_hub=None, private=False, revision=None, dry_run=False, force=False
            )
        )
    assert "README.md is kept as it is" in "\n".join(lines)
    convert(run, new_card=True)
    assert card.read_text() != "my card"
    assert (run / "hub" / ".replaced-1" / "README.md").read_text() == "my card"


def test_a_kept_card_does_not_pass_for_scores(run):
    """Another step's model under the card of the best one is still a model without scores."""
    card = run / "hub" / "README.md"
    card.write_text(card.read_text() + "\nmy words\n")
    best = SavedRun.open(run).best_step
    other = next(step for step in SavedRun.open(run).steps if step != best)
    made = convert(run, step=other)
    assert not made.scored
    push = {"private": False, "revision": None, "dry_run": False, "force": False}
    with pytest.raises(ValueError, match="has not been scored"):
        list(convert_and_push(str(run), push_to_hub="user/name", step=other, **push))


def test_convert_into_a_clone_of_a_hub_repository(run, tmp_path):
    clone = tmp_path / "clone"
    shutil.copytree(run / "hub", clone)
    (clone / RECORD).unlink()
    (clone / "README.md").write_text("the card of the Hub")
    plant(clone, [".gitattributes", "onnx/model.onnx"])
    commit_all(clone)
    with unchanged(clone / ".git", clone / "onnx", clone / "README.md"):
        made = convert(run, output_dir=clone, dtype="bfloat16")
    assert any("README.md is kept" in note for note in made.notes)
    assert any("also holds onnx/model.onnx" in note for note in made.notes)
    assert json.loads((clone / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("where", ["", "checkpoints", "checkpoints/6", "checkpoints/6/params",
                                   "model", "predictions", "model/new"])  # fmt: skip
def test_nothing_else_is_written_into_what_a_run_keeps(run, where):
    for act in (
        lambda: convert(run, output_dir=run / where),
        lambda: pipeline("ner", model=run / "hub").export(run / where),
    ):
        with unchanged(run), pytest.raises(ValueError, match="name another folder"):
            act()


# -- evaluate, export ------------------------------------------------------------------------------


def test_evaluate_leaves_a_runs_results(run, settings):
    with unchanged(run):
        for folder in (run, run / "hub", run / "predictions"):
            with pytest.raises(ValueError, match="name another folder"):
                evaluate(run / "hub", file=settings["validation_file"], output_dir=folder)
    with unchanged(run):
        for _ in range(2):
            evaluate(run / "hub", file=settings["validation_file"], output_dir=run / "more")
    convert(run)


def test_evaluate_beside_others(run, settings, tmp_path):
    out = tmp_path / "out"
    plant(out)
    with unchanged(out):
        for _ in range(2):
            evaluate(run / "hub", file=settings["validation_file"], output_dir=out)
    (out / "results.json").write_text("mine")
    with (
        unchanged(out),
        pytest.raises(ValueError, match=r"results\.json is in the way and was"),
    ):
        evaluate(run / "hub", file=settings["validation_file"], output_dir=out)
    (out / RECORD).unlink()
    with unchanged(out), pytest.raises(ValueError, match="was not written by flaxner"):
        evaluate(run / "hub", file=settings["validation_file"], output_dir=out)


def test_evaluate_sets_aside_what_an_earlier_version_wrote(run, settings, tmp_path):
    out = tmp_path / "out"
    evaluate(run / "hub", file=settings["validation_file"], output_dir=out)
    (out / RECORD).unlink()
    with nothing_lost(out):
        evaluate(run / "hub", file=settings["validation_file"], output_dir=out)


def test_export_replaces_its_own_alone(run, tmp_path):
    ner = pipeline("ner", model=run / "hub")
    ner.export(tmp_path / "served")
    plant(tmp_path / "served")
    with unchanged(tmp_path / "served" / "src", tmp_path / "served" / "thesis.tex"):
        ner.export(tmp_path / "served", weights="int8")
    with unchanged(run), pytest.raises(ValueError, match="belongs to the run"):
        ner.export(run / "hub")


# -- train -----------------------------------------------------------------------------------------


def test_a_config_toml_that_is_not_a_runs(settings, tmp_path):
    plant(tmp_path)
    (tmp_path / "config.toml").write_text('baseURL = "https://example.org/"\ntheme = "x"\n')
    for changes in ({}, {"overwrite": True}, {"resume": True}):
        with unchanged(tmp_path), pytest.raises(ValueError, match=r"'config\.toml', which no run"):
            start(settings, tmp_path, **changes)


@pytest.mark.parametrize("part", ["hub", "model", "checkpoints/6"])
def test_a_run_does_not_write_over_what_it_reads(settings, run, part):
    """By its own name, by another way to it, and by a link."""
    (run.parent / "link").symlink_to(run / part)
    for name in (run / part, run / "hub" / ".." / part, run.parent / "link"):
        with (
            unchanged(run),
            pytest.raises(ValueError, match=r"would write over .*, which it"),
        ):
            start(settings, run, model=str(name), overwrite=True)
    (run / "predictions" / "train.conll").write_text("Ann B-PER\n")
    with unchanged(run), pytest.raises(ValueError, match=r"would write over .*train\.conll"):
        start(settings, run, train_file=str(run / "predictions" / "train.conll"), overwrite=True)


def test_a_run_in_the_folder_of_its_model(settings, run, tmp_path):
    model = shutil.copytree(run / "hub", tmp_path / "m" / "model")
    for out in (model, model.parent):
        with unchanged(model), pytest.raises(ValueError, match="would write over"):
            start(settings, out, model=str(model), overwrite=True)


def test_overwrite_deletes_a_run_and_nothing_else(settings, run, tmp_path):
    others = plant(run)
    others += plant(run, ["hub/figure.png", "checkpoints/notes.txt", "predictions/mine.conll",
                          "fold-1/mine.txt", "fold-2-notes/x.txt"])  # fmt: skip
    (run / "config.toml").write_text((run / "config.toml").read_text() + "# my remark\n")
    (run / "hub" / "README.md").write_text("my card")
    old = tree(run / "checkpoints")
    with unchanged(*others, run / "hub" / "README.md"):
        text = said_by(settings, run, tmp_path, overwrite=True, seed=1)
    assert "# my remark" in (run / ".replaced-1" / "config.toml").read_text()
    assert "keeps what was replaced" in text
    assert ".replaced-1" in text
    assert "README.md is kept as it is" in text
    left = [path.name for path in (run / ".replaced-1").rglob("*")]
    assert left == ["config.toml"]
    assert not set(tree(run / "checkpoints").values()) >= set(old.values())
    assert is_run(run)


def test_what_is_overwritten_stays_until_the_new_run_has_ended(settings, run, monkeypatch):
    from flaxner.training.trainer import Trainer

    monkeypatch.setattr(Trainer, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with nothing_lost(run), pytest.raises(RunStopped):
        start(settings, run, overwrite=True, seed=1)
    aside = run / ".replaced-1"
    assert (aside / "hub" / "model.safetensors").is_file()
    assert SavedRun.open(aside).best_step is not None, "it can be used as it lies there"
    monkeypatch.undo()
    start(settings, run, resume=True, seed=1)
    assert not aside.exists()


def as_before_records(run):
    """As the version before records left it."""
    for path in run.rglob(RECORD):
        path.unlink()
    (run / ".lock-holder").unlink()
    (run / ".lock").write_text("process 1 on here\n")


def test_a_run_of_an_earlier_version(settings, run, whole, tmp_path):
    as_before_records(run)
    assert is_run(run)
    with nothing_lost(run):
        convert(run)
    with pytest.raises(ValueError, match="is in use: continue that run with --resume"):
        start(settings, run)
    unfinished(run)
    with nothing_lost(run):
        start(settings, run, resume=True)
    for name in ("hub/model.safetensors", "predictions/validation.conll"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    as_before_records(run)
    (run / "hub" / "README.md").write_text("the card of an earlier version")
    convert(run)  # from here on hub/ has a record, and the run has none
    recorded = [path for path in (run / "hub").iterdir() if path.name != "README.md"]
    ours = (run / "checkpoints", *recorded)  # which a record, or what it holds, shows
    before = {p: d for p, d in tree(run).items() if not any(map(p.is_relative_to, ours))}
    with unchanged(run / "hub" / "README.md"):
        start(settings, run, overwrite=True, seed=1)
    kept = set(tree(run).values())
    assert [path.name for path, digest in before.items() if digest not in kept] == []


def test_links_as_output_hub_and_checkpoints(settings, tmp_path):
    disk = tmp_path / "disk"
    plant(disk, ["mine.txt"])
    out = disk / "out"
    out.mkdir()
    for name in ("hub", "checkpoints"):
        (disk / name).mkdir()
        plant(disk / name, ["notes.md"])
        (out / name).symlink_to(disk / name)
    (out / "checkpoints").unlink()
    (out / "checkpoints").symlink_to(disk / "to" / "be" / "made")
    (out / "hub").unlink()
    (tmp_path / "run").symlink_to(out)
    first = start(settings, tmp_path / "run")
    assert (disk / "to" / "be" / "made" / "6").is_dir()
    shutil.move(out / "hub", disk / "weights")
    (out / "hub").symlink_to(disk / "weights")
    with unchanged(disk / "mine.txt", disk / "checkpoints", disk / "hub"):
        second = start(settings, tmp_path / "run", overwrite=True, seed=1)
    for link in (tmp_path / "run", out / "hub", out / "checkpoints"):
        assert link.is_symlink()
    assert not list(disk.rglob(".replaced-*"))
    assert (disk / "weights" / "model.safetensors").is_file()
    assert second.results["train"]["steps"] == first.results["train"]["steps"]
    convert(tmp_path / "run")
    assert (out / "hub").is_symlink()


def test_the_working_directory_as_output(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start(settings, ".")
    start(settings, ".", overwrite=True)
    convert(".")
    assert (tmp_path / "hub" / "model.safetensors").is_file()
    assert os.path.samefile(".", tmp_path)


@pytest.mark.parametrize("how", ["missing", "damaged"])
@pytest.mark.parametrize("when", ["at the end", "before it"])
def test_a_lost_best_checkpoint_does_not_stop_the_run(settings, run, tmp_path, how, when):
    saved = SavedRun.open(run)
    best, steps = saved.best_step, saved.steps
    if best == steps[-1]:  # make another one the best, as a longer run would have
        best = steps[0]
        for step in steps[1:]:
            set_best(run / "checkpoints" / str(step), best)
    unfinished(run)
    if when == "before it":
        shutil.rmtree(run / "checkpoints" / str(steps[-1]))
    lost = run / "checkpoints" / str(best)
    if best == SavedRun.open(run).steps[-1]:
        pytest.skip("the best one is the newest")
    shutil.rmtree(lost) if how == "missing" else (lost / "run.json").write_text("{}")
    text = said_by(settings, run, tmp_path, resume=True)
    assert f"the best checkpoint so far, {lost}, cannot be used" in text
    results = json.loads((run / "results.json").read_text())
    assert results["train"]["best_step"] > best
    convert(run)


def set_best(folder, step):
    from flaxner.files import manifest

    content = json.loads((folder / "run.json").read_text())
    content["progress"] |= {"best_step": step, "best_score": 2.0}
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "manifest.json").unlink()
    manifest.seal(folder)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe no text\n"])
def test_a_lost_metrics_log_does_not_stop_the_run(settings, run, tmp_path, content):
    unfinished(run)
    shutil.rmtree(run / "checkpoints" / "6")
    log = run / "metrics.jsonl"
    log.unlink() if content is None else log.write_bytes(content)
    text = said_by(settings, run, tmp_path, resume=True)
    assert "metrics.jsonl has lost" in text
    assert (run / "results.json").is_file()
    lines = [line for line in log.read_bytes().splitlines() if not line.startswith(b"\xff")]
    assert json.loads(lines[-1])["step"] == STEPS
    convert(run)


def test_a_finished_run_is_pruned_of_nothing_foreign(settings, run):
    """A file in an old checkpoint's folder, and a folder whose name is a number."""
    unfinished(run)
    steps = SavedRun.open(run).steps
    shutil.rmtree(run / "checkpoints" / str(steps[-1]))
    others = plant(run / "checkpoints", ["1/mine.txt", "6/values.txt", "5.damaged/mine.txt"])
    with nothing_lost(run / "checkpoints" / "1", run / "checkpoints" / "5.damaged"):
        start(settings, run, resume=True)
    assert {path.read_text() for path in (run / "checkpoints").rglob("*.txt")} >= {
        f"mine: {path.relative_to(run / 'checkpoints').as_posix()}\n" for path in others
    }


# -- cross-validation, comparison, caches ----------------------------------------------------------


@pytest.mark.slow
def test_cross_validation_leaves_what_is_not_its_own(settings, tmp_path):
    changes = {"validation_file": None, "cross_validation": 2, "epochs": 1.0}
    out = tmp_path / "out"
    plant(out, ["fold-1/mine.txt"])
    with unchanged(out), pytest.raises(ValueError, match="which no run wrote"):
        start(settings, out, **changes)
    shutil.rmtree(out)
    start(settings, out, **changes)
    others = plant(out, ["fold-1/mine.txt", "fold-2/hub/figure.png", "fold-7/mine.txt"])
    with unchanged(*others):
        start(settings, out, **changes, overwrite=True, seed=1)
    assert not list(out.rglob(".replaced-*"))
    assert "folds" in json.loads((out / "results.json").read_text())


def test_the_segment_cache_deletes_its_own_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_cache, "FEWEST", 1)
    monkeypatch.setattr(segment_cache, "MOST_BYTES", 0)
    plant(tmp_path, ["results.npz", f"{'ab' * 32}.npz", "data.npz.part"])
    corpus = [Sentence(("Ann", "left"), ("B-PER", "O"))]
    with unchanged(tmp_path):
        segment_cache.align_cached(
            corpus, tiny_tokenizer(), LabelScheme.from_types(["PER"]), 16, str(tmp_path)
        )
    assert len(list(tmp_path.iterdir())) == 3
