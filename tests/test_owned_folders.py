"""Folders that flaxner writes: whatever else lies there, foreign files are never lost."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from flaxner.files import Kind, check_folder, owned, write_folder
from flaxner.files.records import RECORD, read_record, remove_ours
from tests.buckets import as_in_a_bucket
from tests.hostile.trees import commit_all, git, nothing_lost, plant, tree, unchanged

KIND = Kind(
    "a model folder",
    seal="config.json",
    names=("config.json", "weights"),
    card="README.md",
    known=lambda folder: "ours" in _json(folder),
    clone=lambda folder: "model_type" in _json(folder),
)
OTHER = Kind("an evaluation", "results.json", ("results.json",))


def _json(folder):
    try:
        return json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}


def files(number, *, stale=False):
    made = {
        "config.json": json.dumps({"model_type": "bert", "ours": {}, "number": number}),
        "weights": f"weights {number}",
        "README.md": f"card {number}",
        "onnx/model": f"onnx {number}",
    }
    return made | ({"runs/events": "old"} if stale else {})


def fill(number, **options):
    def write(draft):
        for name, text in files(number, **options).items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text)

    return write


def read(folder, names=None):
    return {name: (folder / name).read_text() for name in names or files(0)}


def hidden(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


@pytest.mark.parametrize("bucket", [False, True])
def test_our_own_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, bucket):
    if bucket:
        as_in_a_bucket(monkeypatch)
    target = tmp_path / "hub"
    assert write_folder(target, KIND, fill(1, stale=True)) == []
    assert write_folder(target, KIND, fill(2)) == []
    assert read(target) == files(2)
    assert not (target / "runs").exists()
    assert hidden(target) == [RECORD]
    assert [p.name for p in tmp_path.iterdir()] == ["hub"]


def test_a_project_with_a_config_json_is_refused(tmp_path):
    project = tmp_path / "project"
    plant(project)
    plant(project, ["config.json", "README.md"])
    commit_all(project)
    with unchanged(project), pytest.raises(ValueError, match=r"in use: config\.json is in the way"):
        write_folder(project, KIND, fill(1))
    assert RECORD not in hidden(project)


def test_several_files_in_the_way(tmp_path):
    plant(tmp_path, ["config.json", "weights"])
    told = r"config\.json, weights are in the way and were not written by flaxner: move them away"
    with unchanged(tmp_path), pytest.raises(ValueError, match=told):
        check_folder(tmp_path, dataclasses.replace(KIND, names=("config.json", "weights")))


def test_a_late_refusal_changes_nothing(tmp_path):
    """The colliding name is known only once the files are made."""
    plant(tmp_path, ["onnx/model"])
    with unchanged(tmp_path), pytest.raises(ValueError, match="onnx/model is in the way"):
        write_folder(tmp_path, KIND, fill(1))
    assert not (tmp_path / "config.json").exists()
    assert not [name for name in hidden(tmp_path) if name.startswith(".flaxner")]


@pytest.mark.parametrize("name", ["onnx", "weights/of/mine"])
def test_a_file_in_place_of_a_folder_and_the_reverse(tmp_path, name):
    plant(tmp_path, [name])
    with unchanged(tmp_path), pytest.raises(ValueError, match="is in the way"):
        write_folder(tmp_path, KIND, fill(1))


def test_foreign_files_stay_where_nothing_collides(tmp_path):
    plant(tmp_path)
    plant(tmp_path, ["onnx/mine", "runs/mine"])
    with unchanged(tmp_path):
        assert write_folder(tmp_path, KIND, fill(1, stale=True)) == []
        assert write_folder(tmp_path, KIND, fill(2)) == []
    assert read(tmp_path) == files(2)
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["mine"]
    assert hidden(tmp_path) == [".env", RECORD]


def test_an_edited_card_is_kept_unless_asked(tmp_path):
    write_folder(tmp_path, KIND, fill(1))
    (tmp_path / "README.md").write_text("my card")
    for number in (2, 3):
        with unchanged(tmp_path / "README.md"):
            (note,) = write_folder(tmp_path, KIND, fill(number))
        assert "README.md is kept as it is" in note
        assert read(tmp_path)["weights"] == f"weights {number}"
    with nothing_lost(tmp_path / "README.md"):
        (note,) = write_folder(tmp_path, KIND, fill(4), new_card=True)
    assert read(tmp_path) == files(4)
    assert (tmp_path / ".replaced-1" / "README.md").read_text() == "my card"
    assert ".replaced-1: README.md" in note


def test_an_edited_file_is_neither_replaced_nor_deleted(tmp_path):
    write_folder(tmp_path, KIND, fill(1, stale=True))
    (tmp_path / "runs" / "events").write_text("mine now")
    (note,) = write_folder(tmp_path, KIND, fill(2))
    assert "runs/events" in note
    assert (tmp_path / "runs" / "events").read_text() == "mine now"
    (tmp_path / "weights").write_text("trained further")
    with unchanged(tmp_path), pytest.raises(ValueError, match="weights is in the way and was chan"):
        write_folder(tmp_path, KIND, fill(3))


def test_a_clone_is_updated_and_git_left_alone(tmp_path):
    for name, text in files(1).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    plant(tmp_path, [".gitattributes", "samples/mine.txt"])
    commit_all(tmp_path)
    with unchanged(tmp_path / ".git", tmp_path / "samples", tmp_path / "README.md"):
        (note,) = write_folder(tmp_path, KIND, fill(2))
    assert "README.md is kept" in note
    assert read(tmp_path) == files(2) | {"README.md": "card 1"}
    changed = {line[3:] for line in git(tmp_path, "status", "--porcelain").splitlines()}
    assert changed == {"config.json", "weights", "onnx/model", RECORD}


def test_uncommitted_files_of_a_clone_are_refused(tmp_path):
    plant(tmp_path, ["weights"])
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    commit_all(tmp_path)
    (tmp_path / "weights").write_text("not committed")
    with (
        unchanged(tmp_path),
        pytest.raises(ValueError, match=r"weights is in .*: commit it to"),
    ):
        write_folder(tmp_path, KIND, fill(1))


def test_a_file_of_git_lfs_counts_by_its_pointer(tmp_path):
    from flaxner.files.clones import _digests, committed

    (tmp_path / "weights").write_text("the weights")
    size, digest = 11, __import__("hashlib").sha256(b"the weights").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
    (tmp_path / "pointer").write_text(pointer)
    assert _digests(tmp_path / "weights", 40)[1] == _digests(tmp_path / "pointer", 40)[0]
    (tmp_path / "weights").write_text(pointer)
    commit_all(tmp_path)
    (tmp_path / "weights").write_text("the weights")
    assert committed(tmp_path, ["weights", "pointer", "absent"]) == {"weights", "pointer"}


def test_a_folder_of_an_earlier_version_is_set_aside(tmp_path):
    for name, text in files(1).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with nothing_lost(tmp_path):
        notes = write_folder(tmp_path, KIND, fill(2))
    assert read(tmp_path) == files(2) | {"README.md": "card 1"}
    assert any(".replaced-1: " in note and "weights" in note for note in notes)


def test_links_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    plant(tmp_path / "disk", ["thesis.tex"])
    (tmp_path / "hub").symlink_to("disk")
    (tmp_path / "other").symlink_to("to/be/made")
    for name in ("hub", "other"):
        for number in (1, 2):
            write_folder(tmp_path / name, KIND, fill(number))
        assert (tmp_path / name).is_symlink()
        assert read(tmp_path / name) == files(2)
    assert (tmp_path / "disk" / "thesis.tex").is_file()
    assert (tmp_path / "to" / "be" / "made" / "weights").is_file()


def test_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        write_folder(".", KIND, fill(number))
        assert os.path.samefile(".", tmp_path)
        assert read(tmp_path) == files(number)


def test_another_kind_is_refused(tmp_path):
    write_folder(tmp_path, KIND, fill(1))
    with (
        unchanged(tmp_path),
        pytest.raises(ValueError, match="holds a model folder: choose anoth"),
    ):
        check_folder(tmp_path, OTHER)
    for name in ("weights", "weights/of/mine"):
        with unchanged(tmp_path), pytest.raises(ValueError, match="weights is a file: choose"):
            check_folder(tmp_path / name, KIND)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder closed even to root")
def test_an_unwritable_folder_is_refused_before_the_work():
    for folder in ("/proc/self", "/proc/self/scores/of/mine"):
        with pytest.raises(OSError) as caught:
            check_folder(folder, KIND)
        assert caught.value.filename == folder


def test_a_foreign_record_reaches_nothing_outside(tmp_path):
    """The record names files above the folder, files behind links, and files with other content."""
    plant(tmp_path, ["mine.txt", "away/mine.txt"])
    target = tmp_path / "hub"
    target.mkdir()
    (target / "link").symlink_to("../away")
    plant(target, ["weights"])
    outside = ("../mine.txt", "link/mine.txt", str(tmp_path / "mine.txt"), "weights")
    from flaxner.files.manifest import entry

    listed = {name: entry(tmp_path / "mine.txt") for name in outside}
    listed["link/mine.txt"] = entry(tmp_path / "away" / "mine.txt")
    (target / RECORD).write_text(json.dumps({"kind": KIND.name, "files": listed}))
    assert set(read_record(target).files) == {"link/mine.txt", "weights"}
    with unchanged(tmp_path / "mine.txt", tmp_path / "away", target / "weights"):
        assert remove_ours(target) == ["link", "weights"]


@pytest.mark.parametrize(
    "job",
    [
        {"put": ["../evil"]},
        {"put": ["draft/mine.txt"]},
        {"put": ["away/evil"]},
        {"away": ["../mine.txt"]},
        {"away": ["away/mine.txt"]},
        {"away": ["mine"], "aside": "../aside"},
        {"away": ["mine"], "aside": "away"},
        {"put": [1]},
        {"put": "evil"},
    ],
    ids=str,
)
def test_a_foreign_journal_moves_nothing(tmp_path, job):
    """A clone may contain a journal with names above the folder or behind links."""
    plant(tmp_path, ["mine.txt", "away/mine.txt"])
    target = tmp_path / "clone"
    plant(target, ["mine", "evil"])
    (target / "away").symlink_to("../away")
    draft = target / owned.DRAFT
    plant(draft, ["away/evil"])
    (draft / "draft").symlink_to("../../away")
    whole = {"aside": ".replaced-1", "gone": {}, "away": [], "put": []}
    whole["record"] = {"kind": KIND.name, "files": {}}
    (draft / owned.JOURNAL).write_text(json.dumps(whole | job))
    with unchanged(tmp_path / "mine.txt", tmp_path / "away", target / "mine", target / "evil"):
        write_folder(target, KIND, fill(1))
    assert {p.name for p in tmp_path.iterdir()} == {"mine.txt", "away", "clone"}
    assert read(target) == files(1)
    assert hidden(target) == [RECORD]


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1", "\xff"])
def test_an_invalid_journal_is_ignored(tmp_path, text):
    plant(tmp_path, [f"{owned.DRAFT}/{owned.JOURNAL}"])
    (tmp_path / owned.DRAFT / owned.JOURNAL).write_text(text)
    write_folder(tmp_path, KIND, fill(1))
    assert read(tmp_path) == files(1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": 1, "files": 2}', "[" * 100_000, "\xff"])
def test_a_damaged_record_is_ignored(tmp_path, text):
    write_folder(tmp_path, KIND, fill(1))
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path) is None
    with nothing_lost(tmp_path):
        write_folder(tmp_path, KIND, fill(2))  # recognised as ours by its content
    assert read(tmp_path)["weights"] == "weights 2"


KILLED = """
import os, sys
from pathlib import Path
import pytest
from flaxner.files import atomic, owned
from tests.buckets import as_in_a_bucket
from tests.test_owned_folders import KIND, fill

if sys.argv[3] == "bucket":
    as_in_a_bucket(pytest.MonkeyPatch())

left = int(sys.argv[2])

def dying(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **options)
    return call

for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
    setattr(os, name, dying(getattr(os, name)))
owned.exchange = dying(owned.exchange)
owned.write_folder(Path(sys.argv[1]), KIND, fill(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("others", "where"), [(False, "disk"), (False, "bucket"), (True, "disk")])
def test_a_kill_at_any_moment_loses_nothing(tmp_path, others, where):
    """Afterwards the folder is the old one, the new one or absent; the next write completes it."""
    for moment in range(200):
        target = tmp_path / str(moment)
        if others:
            plant(target)
        write_folder(target, KIND, fill(1, stale=True))
        before = tree(target)
        code = [sys.executable, "-c", KILLED, str(target), str(moment), where]
        done = subprocess.run(code, check=False, capture_output=True, text=True)
        assert done.returncode in (0, 9), done.stderr
        kept = set(tree(tmp_path).values())
        if done.returncode == 9 and (target / "config.json").exists():
            number = _json(target)["number"]
            assert read(target) == files(number), moment
        elif done.returncode == 9:
            lost = [p for p, digest in before.items() if digest not in kept]
            assert {p.name for p in lost} <= {RECORD}, moment
        write_folder(target, KIND, fill(3))
        assert read(target) == files(3)
        assert not (target / "runs").exists()
        left = {n for n in hidden(target) if n != ".env"} | {p.name for p in tmp_path.glob(".*")}
        assert left == {RECORD}, moment
        if others:
            assert (target / "thesis.tex").is_file()
        if done.returncode == 0:
            break
    assert moment > 5


def test_two_writers_do_not_mix(tmp_path):
    target = tmp_path / "hub"

    def meanwhile(draft):
        with pytest.raises(ValueError, match="another process is writing"):
            write_folder(target, KIND, fill(2))
        fill(1)(draft)

    write_folder(target, KIND, meanwhile)
    assert read(target) == files(1)


def test_a_failed_writing_leaves_what_was_there(tmp_path):
    write_folder(tmp_path / "hub", KIND, fill(1))

    def failing(draft):
        fill(2)(draft)
        raise OSError("no space")

    for folder in ("hub", "new"):
        before = tree(tmp_path)
        with pytest.raises(OSError, match="no space"):
            write_folder(tmp_path / folder, KIND, failing)
        assert tree(tmp_path) == before


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "\xff"])
def test_an_invalid_manifest_is_ignored(tmp_path, text):
    """It belongs to another program, below a folder that is searched."""
    plant(tmp_path, ["theirs/manifest.json", "theirs/mine"])
    (tmp_path / "theirs" / "manifest.json").write_text(text)
    with unchanged(tmp_path):
        assert remove_ours(tmp_path) == ["theirs/manifest.json", "theirs/mine"]
