"""Every command that writes, run with other people's files beside and inside its target."""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from flaxner.commands import COMMANDS, console
from flaxner.embeddings.settings import check_output, parse_settings
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.evaluation.comparison import read_system
from flaxner.files import kept
from flaxner.files.records import RECORD
from flaxner.inference.pipeline import pipeline
from flaxner.publishing.conversion import SavedRun, convert
from flaxner.publishing.push import convert_and_push
from flaxner.reporting.record import read_runs
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import is_run
from flaxner.runs.replacing import half_moved
from flaxner.runs.steps import StepFolders
from flaxner.training.shared import Shared
from flaxner.training.stopping import RunStopped
from tests import runs
from tests.buckets import as_in_a_bucket
from tests.conll import QUICK, sentences, write_conll
from tests.hostile.trees import all_files, commit_all, nothing_lost, plant, tree, unchanged

STEPS = 6
start = functools.partial(runs.start, shared=Shared())


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return QUICK | {
        "train_file": str(write_conll(folder / "train.conll", sentences(24))),
        "validation_file": str(write_conll(folder / "dev.conll", sentences(8, shift=1))),
        "epochs": 2.0,
        "save_every": 2,
    }


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole").output_dir


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def unfinished(run):
    """Leave the run as if it had been stopped after its last step, before scoring."""
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


def test_a_kept_card_does_not_pass_for_scores(run, monkeypatch):
    """Publishing another step under the card of the best one still counts as unscored."""
    monkeypatch.setenv("HF_TOKEN", "hf_user")  # without one, nothing would be converted
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
    plant(clone, [".gitattributes", "onnx/model.onnx", "adapter/model.safetensors"])
    commit_all(clone)
    with unchanged(clone / ".git", clone / "adapter", clone / "onnx", clone / "README.md"):
        made = convert(run, output_dir=clone, dtype="bfloat16")
    assert any("README.md is kept" in note for note in made.notes)
    assert any("also holds onnx/model.onnx, " in note for note in made.notes)
    assert json.loads((clone / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("where", ["", "checkpoints", "checkpoints/6", "checkpoints/6/params",
                                   "model", "predictions", "model/new"])  # fmt: skip
def test_no_other_output_goes_into_the_folders_of_a_run(run, where):
    for act in (
        lambda: convert(run, output_dir=run / where),
        lambda: pipeline("ner", model=run / "hub").export(run / where),
    ):
        with unchanged(run), pytest.raises(ValueError, match="choose another folder"):
            act()


# -- evaluate, export ------------------------------------------------------------------------------


def test_evaluate_leaves_a_runs_results(run, settings):
    with unchanged(run):
        for folder in (run, run / "hub", run / "predictions"):
            with pytest.raises(ValueError, match="choose another folder"):
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
    with unchanged(out), pytest.raises(ValueError, match="were not written by flaxner"):
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
    """Named directly, by another path, and through a link."""
    (run.parent / "link").symlink_to(run / part)
    for name in (run / part, run / "hub" / ".." / part, run.parent / "link"):
        with (
            unchanged(run),
            pytest.raises(ValueError, match=r"would overwrite .*, which it"),
        ):
            start(settings, run, model=str(name), overwrite=True)
    (run / "predictions" / "train.conll").write_text("Ann B-PER\n")
    with unchanged(run), pytest.raises(ValueError, match=r"would overwrite .*train\.conll"):
        start(settings, run, train_file=str(run / "predictions" / "train.conll"), overwrite=True)


def test_a_run_in_the_folder_of_its_model(settings, run, tmp_path):
    model = shutil.copytree(run / "hub", tmp_path / "m" / "model")
    for out in (model, model.parent):
        with unchanged(model), pytest.raises(ValueError, match="would overwrite"):
            start(settings, out, model=str(model), overwrite=True)


@pytest.mark.parametrize("bucket", [False, True])
def test_overwrite_deletes_a_run_and_nothing_else(settings, run, tmp_path, monkeypatch, bucket):
    if bucket:
        as_in_a_bucket(monkeypatch)
    others = plant(run)
    others += plant(run, ["hub/figure.png", "checkpoints/notes.txt", "predictions/mine.conll",
                          "fold-1/mine.txt", "fold-2-notes/x.txt"])  # fmt: skip
    (run / "config.toml").write_text((run / "config.toml").read_text() + "# my remark\n")
    (run / "hub" / "README.md").write_text("my card")
    old = tree(run / "checkpoints")
    with unchanged(*others, run / "hub" / "README.md"):
        text = said_by(settings, run, tmp_path, overwrite=True, seed=1)
    assert "# my remark" in (run / ".replaced-1" / "config.toml").read_text()
    assert "keeps replaced files" in text
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
    assert SavedRun.open(aside).best_step is not None, "it can be used where it lies"
    monkeypatch.undo()
    start(settings, run, resume=True, seed=1)
    assert not aside.exists()


# Sets a run aside in copies of it, dying as if by `kill -9` at the first, second, ... file-system
# change; stops at the copy that was set aside without dying.
KILLED = """
import itertools, os, shutil, sys
from pathlib import Path
from flaxner.runs.folder import RunFolder

def dying(function, left):
    def call(*arguments, **options):
        if next(left) == 0:
            os._exit(9)
        return function(*arguments, **options)
    return call

source = Path(sys.argv[1])
for moment in itertools.count():
    copy = source.with_name(f"{source.name}-{moment}")
    shutil.copytree(source, copy, copy_function=os.link)  # nothing is written into a file
    child = os.fork()
    if child == 0:
        left = itertools.count(moment, -1)
        for name in ("rename", "replace", "unlink", "rmdir"):
            setattr(os, name, dying(getattr(os, name), left))
        run = RunFolder(copy)
        run.lock()
        run.claim(overwrite=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


OF_OURS = (RECORD, ".lock", ".lock-holder")


def content(folder):
    """Map each file of a folder to its digest, leaving out the records of ownership."""
    return {p.relative_to(folder): d for p, d in tree(folder).items() if p.name not in OF_OURS}


def inodes(folder):
    """Return the inode numbers of a folder's files; hard links share one."""
    return {p.lstat().st_ino for p in all_files(folder) if p.name not in OF_OURS}


def refused_everywhere(run):
    """Return the message with which every command refuses a run that lies in two places."""
    said = set()
    for act in (
        lambda: RunFolder(run).check(overwrite=False, resume=False),
        lambda: RunFolder(run).check(overwrite=False, resume=True),
        lambda: convert(run),
        lambda: read_runs(run),
        lambda: read_system(run, "validation"),
    ):
        with pytest.raises(ValueError) as error:
            act()
        said.add(str(error.value))
    (sentence,) = said
    assert "train with --overwrite to replace it after all" in sentence
    return sentence


@pytest.mark.parametrize(
    "kind", ["a run", pytest.param("folds", marks=pytest.mark.slow), "before records"]
)
def test_a_kill_while_a_run_is_set_aside_loses_nothing(run, tmp_path, kind):
    """Every later command says how to finish replacing it and how to restore it; both work."""
    own = run / "fold-1" if kind == "folds" else run
    if kind == "folds":
        shutil.copytree(run, tmp_path / "fold")
        shutil.move(tmp_path / "fold", own)
    elif kind == "before records":
        as_before_records(run)
    plant(run)
    before, files, steps = content(run), inodes(run), SavedRun.open(own).steps
    subprocess.run([sys.executable, "-c", KILLED, run], check=True, timeout=60)
    copies = sorted(tmp_path.glob("run-*"), key=lambda path: int(path.name.split("-")[1]))
    assert [moment for moment, copy in enumerate(copies) if not files <= inodes(copy)] == []
    half = [copy for copy in copies if half_moved(copy) is not None]
    assert len(half) > 10
    assert len(copies) - len(half) < 10, "the other moments come before or after the move"
    for copy in [*half[::9], half[-1]]:
        sentence = refused_everywhere(copy)
        assert files <= inodes(copy)
        again = shutil.copytree(copy, tmp_path / "again")
        back = sentence.split("or restore it with: ")[1].replace(str(copy), str(again))
        subprocess.run(back, shell=True, check=True)
        restored = content(again)
        assert {name: restored.get(name) for name in before} == before
        assert is_run(again / own.relative_to(run))
        shutil.rmtree(again)
    for copy in half:
        completed = RunFolder(copy)
        completed.check(overwrite=True, resume=False)
        completed.lock()
        completed.claim(overwrite=True)
        completed.release()
        assert half_moved(copy) is None
        assert files <= inodes(copy)
        (aside,) = copy.glob(".replaced-*")
        assert StepFolders(aside / own.relative_to(run) / "checkpoints").steps() == steps
    assert SavedRun.open(aside / own.relative_to(run)).steps == steps


def as_before_records(run):
    """Leave the run as a version without records left it."""
    for path in run.rglob(RECORD):
        path.unlink()
    (run / ".lock-holder").unlink()
    (run / ".lock").write_text("process 1 on here\n")
    (run / "speed.jsonl").write_text("somebody's: that version wrote no such file\n")


def test_a_run_of_an_earlier_version(settings, run, whole, tmp_path):
    as_before_records(run)
    assert is_run(run)
    with nothing_lost(run):
        convert(run)
    with pytest.raises(ValueError, match="already holds a run: continue that run with --resume"):
        start(settings, run)
    unfinished(run)
    with nothing_lost(run):
        start(settings, run, resume=True)
    for name in ("hub/model.safetensors", "predictions/validation.conll"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    as_before_records(run)
    (run / "hub" / "README.md").write_text("the card of an earlier version")
    convert(run)  # from here on hub/ has a record, but the run has none
    recorded = [path for path in (run / "hub").iterdir() if path.name != "README.md"]
    ours = (run / "checkpoints", *recorded)  # known to be ours by a record or by content
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


def test_a_path_that_is_not_utf8_is_refused_before_writing(settings, run, tmp_path, monkeypatch):
    """Tokenizers and Orbax take paths as text; a relative path or a link may lead elsewhere."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/no\xfftext"))
    odd.mkdir()
    plant(odd)
    shutil.copytree(run, odd / "run")
    (tmp_path / "link").symlink_to(odd)
    monkeypatch.chdir(odd)
    ner = pipeline("ner", model="run/hub")
    assert ner("Berlin") is not None
    for act in (
        lambda: start(settings, "out"),
        lambda: start(settings, tmp_path / "link" / "out"),
        lambda: convert(run, output_dir="hub"),
        lambda: convert("run", output_dir=tmp_path / "hub"),
        lambda: ner.export("exported"),
        lambda: ner.save_pretrained("saved"),
    ):
        before = tree(tmp_path)
        with pytest.raises(
            ValueError, match=r"the name 'no\\udcfftext' in the path of .* is not UTF"
        ):
            act()
        assert tree(tmp_path) == before
    assert not (odd / "out").exists()


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
        pytest.skip("the best checkpoint is the newest")
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


def test_pruning_a_finished_run_leaves_foreign_files(settings, run):
    """Foreign files in an old checkpoint's folder, and a foreign folder named like a step."""
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


SMALL_STUDY = {
    "static": {"name": "v", "source": "x", "vocabulary": 2, "width": 2},
    "contextual": {"name": "BERT", "layers": [1], "pooling": "mean", "of_layers": 1},
    "occurrences_in": "2 sentences",
    "corpus": "x",
    "limits": {"ambiguous_forms": 0, "least": 4, "per_type": 60},
    "types": ["LOC", "PER"],
    "words": [],
    "separation": [
        {"name": name, "silhouette": 0.0, "accuracy": 0.5, "majority": 0.5, "forms": {},
         "occurrences": 2}
        for name in ("v", "BERT")
    ],
    "taggers": [],
    "frozen_note": "",
    "seconds": 1.0,
}  # fmt: skip


def test_a_comparison_of_embeddings_replaces_its_own_alone(tmp_path):
    pytest.importorskip("matplotlib")
    from flaxner.embeddings.report import write_report

    out, console = tmp_path / "out", Console(quiet=True)
    flags = ["--output-dir", str(out), "--overwrite"]
    plant(out, [".env"])
    with unchanged(out):
        check_output(parse_settings(flags))
        write_report(out, SMALL_STUDY, console)
    others = plant(out, ["bert/mine.txt", "figures/mine.png", "heads/0/mine.txt"])
    with unchanged(out / ".env", *others):
        check_output(parse_settings(flags))
        write_report(out, SMALL_STUDY | {"seconds": 2.0}, console)
    assert json.loads((out / "comparison.json").read_text())["seconds"] == 2.0
    with unchanged(out), pytest.raises(ValueError, match="replace it with --overwrite"):
        check_output(parse_settings(flags[:2]))
    (out / "index.html").write_text("with my remarks")
    with unchanged(out), pytest.raises(ValueError, match=r"index\.html is in the way"):
        check_output(parse_settings(flags))
    plant(out, ["src/main.py"])
    with unchanged(out), pytest.raises(ValueError, match="'src', which no comparison wrote"):
        check_output(parse_settings(flags))


def test_the_model_cache_deletes_only_its_own(tmp_path):
    """Graphs, tokenizers, corpora: damaged entries, and the least recently used of a full cache."""
    plant(tmp_path, ["notes.txt", f"{'ab' * 32}/mine.txt", f"{'cd' * 32}.txt"])
    keys = [kept.key_of([number]) for number in range(4)]
    make = lambda draft: (draft / "graph").write_bytes(b"x" * 1000)  # noqa: E731
    with unchanged(tmp_path):
        for key in keys[:3]:
            kept.keep(tmp_path, key, make, 10**6)
    mine = plant(tmp_path / keys[0], ["mine.txt"]) + plant(tmp_path / keys[1], ["mine.txt"])
    (tmp_path / keys[0] / "graph").write_bytes(b"y")
    with nothing_lost(*mine, tmp_path / "notes.txt", tmp_path / f"{'ab' * 32}"):
        assert kept.find(tmp_path, keys[0]) is None
        assert kept.keep(tmp_path, keys[0], make, 10**6) == kept.find(tmp_path, keys[0])
        kept.keep(tmp_path, keys[3], make, 1)
    here = {path.name for path in tmp_path.iterdir()}
    left = {f"{key}.left-1" for key in keys[:2]}
    assert here == {"notes.txt", "ab" * 32, f"{'cd' * 32}.txt", keys[3], *left}
    assert {path.read_text() for path in tmp_path.glob("*.left-1/*")} == {"mine: mine.txt\n"}


def test_the_model_cache_deletes_what_a_killed_process_left(tmp_path):
    """But not what another process may be filling, nor what a link of that name points to."""
    cache, key = tmp_path / "cache", kept.key_of([0])
    mine = plant(tmp_path, ["elsewhere/mine.txt"])
    plant(cache, [f".making-{name}/{key}/segments" for name in ("killed00", "working0")])
    (cache / ".making-linked00").symlink_to(tmp_path / "elsewhere")
    long_ago = time.time() - 2 * kept.ABANDONED
    for name in ("killed00", "linked00"):
        os.utime(cache / f".making-{name}", (long_ago, long_ago), follow_symlinks=False)
    with unchanged(*mine, cache / ".making-working0"):
        kept.keep(cache, key, lambda draft: (draft / "segments").write_bytes(b"x"), 10**6)
    here = {path.name for path in cache.iterdir()}
    assert here == {".making-working0", ".making-linked00", key}


def test_the_model_cache_in_a_bucket(tmp_path, monkeypatch):
    """Where folders cannot be renamed, it is filled too, also where a killed process began to."""
    as_in_a_bucket(monkeypatch)
    key = kept.key_of([0])
    plant(tmp_path, [f"{key}/graph"])
    make = lambda draft: (draft / "graph").write_bytes(b"x")  # noqa: E731
    assert kept.keep(tmp_path, key, make, 10**6) == kept.find(tmp_path, key)
    assert (tmp_path / key / "graph").read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == [key]


# Where each command is tested on a tree of other people's files. A command with an empty entry
# writes nothing but its output; `test_the_rest_writes_nothing` calls those.
COVERED = {
    "train": "test_overwrite_deletes_a_run_and_nothing_else",
    "evaluate": "test_evaluate_beside_others",
    "convert": "test_convert_beside_others_and_again",
    "export": "test_export_replaces_its_own_alone",
    "embeddings": "test_a_comparison_of_embeddings_replaces_its_own_alone",
    "report": "test_report.py: test_pages_lie_beside_the_files_of_others",
    "audit": "test_audit.py: test_an_audit_beside_the_files_of_others",
    "sweep": "test_sweep.py: test_a_sweep_leaves_what_others_put_into_its_folder",
    "preflight": "test_preflight.py: test_the_folder_of_earlier_results_is_shared_with_others",
    "predict": "",
    "serve": "",
    "compare": "",
    "benchmark": "",
    "env": "",
    "completion": "",
}


def test_every_command_is_covered():
    assert COVERED.keys() == COMMANDS.keys()
    for where in filter(None, COVERED.values()):
        file, _, name = where.rpartition(": ")
        source = Path(__file__).with_name(file) if file else Path(__file__)
        assert f"def {name}(" in source.read_text(), where


def test_the_rest_writes_nothing(run, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    plant(work)
    (work / "texts.txt").write_text("Angela Merkel met Barack Obama in Berlin .\n")
    write_conll(work / "dev.conll", sentences(2))
    monkeypatch.chdir(work)
    before = tree(tmp_path)
    lines = {
        "predict": f"--model {run / 'hub'} --file texts.txt",
        "compare": f"{run} {run} --split validation --resamples 100",
        "benchmark": f"pipeline --model {run / 'hub'} --file dev.conll --texts 2 --batch-sizes 1 "
        "--no-first-answer",
        "env": "",
        "completion": "bash",
    }
    for name, line in lines.items():
        needs = {"completion": "shtab", "benchmark": "torch"}.get(name)
        if needs is not None and importlib.util.find_spec(needs) is None:
            continue
        assert console.main([name, *line.split()]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out, name
        assert tree(tmp_path) == before, name
