"""Pushing a folder to a working Hub, and to one that fails."""

import pytest

from tests.hub_server import FakeHub

CODE = """
import sys
import flaxner.publishing.upload as upload
upload.RETRY_WAITS = (0,) * 4
folder, name, private, revision = sys.argv[1:]
try:
    upload.push_folder(folder, name, private=bool(private), revision=revision or None)
except ValueError as error:
    print(error)
"""
FILES = {
    "config.json": b"{}",
    "README.md": b"---\ntags: [a]\n---\n# x\n",
    "model.safetensors": bytes(range(256)) * 40,
}


@pytest.fixture
def hub():
    with FakeHub() as server:
        yield server


@pytest.fixture
def push(hub, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)

    def run(name="user/x", private="", revision="", **options):
        done = hub.run(tmp_path / "home", CODE, str(folder), name, private, revision, **options)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "hf_" not in done.stdout + done.stderr
        return done.stdout.strip()

    return run


def pushed(hub, name="user/x", revision="main"):
    files = hub.repo(name).files(revision)
    return {path: blob.data for path, blob in files.items() if path != ".gitattributes"}


def test_one_commit_and_none_when_nothing_changed(hub, push):
    assert push() == ""
    assert push() == ""
    assert pushed(hub) == FILES
    assert len(hub.repo("user/x").commits) == 2, "should be the initial commit and ours"


def test_private_and_branch(hub, push):
    assert push(private="yes", revision="dev") == ""
    assert hub.repo("user/x").private
    assert pushed(hub) == {}
    assert pushed(hub, revision="dev") == FILES


def test_weights_and_scores_of_an_earlier_push_are_deleted(hub, push):
    old = (
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "flax_model-00001-of-00002.msgpack",
        "flax_model.msgpack.index.json",
        "results.json",
        "metrics.jsonl",
        "runs/events",
    )
    others = (
        "notes.txt",
        "adapter/adapter_model.safetensors",
        "runs/Nov01/events",
        "x/config.toml",
    )
    mine = dict.fromkeys(others, b"mine")
    hub.add("user/x", {**dict.fromkeys(old, b"old"), **mine})
    assert push() == ""
    assert pushed(hub) == {**FILES, **mine}


def test_a_public_repository_is_not_taken_for_a_private_one(hub, push):
    hub.add("user/x", {})
    assert "exists and is public" in push(private="yes")
    assert pushed(hub) == {}


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("user/x", None, "run `hf auth login` or set HF_TOKEN"),
        ("user/x", "hf_wrong", "does not accept the token"),
        ("user/x", "hf_reader", "no write access there"),
        ("other/x", "hf_user", "no write access there"),
        ("a b c", "hf_user", "not a valid repository name"),
    ],
)
def test_refused_pushes(hub, push, name, token, message):
    said = push(name, token=token)
    assert message in said
    assert "\n" not in said
    assert not hub.store.repos


@pytest.mark.parametrize(
    "fault",
    [
        lambda hub: hub.fail("/commit/", 429, headers={"Retry-After": "0"}, times=2),
        lambda hub: hub.fail("/commit/", 409),
        lambda hub: hub.fail("repos/create", 500, times=2),
        lambda hub: hub.cut("/commit/", "before"),
        lambda hub: hub.cut("/commit/", "after"),
        lambda hub: hub.cut("PUT /_lfs/"),
    ],
    ids=["429", "409", "500", "commit cut", "answer lost", "upload cut"],
)
def test_transient_errors_are_retried(hub, push, fault):
    fault(hub)
    assert push() == ""
    assert not [fault for fault in hub.faults if fault.times]
    assert pushed(hub) == FILES
    assert len(hub.repo("user/x").commits) == 2


def test_xet_is_not_needed(hub, push):
    """hf_xet is installed and enabled, but the Hub does not offer it."""
    pytest.importorskip("hf_xet")
    assert push(HF_HUB_DISABLE_XET="0") == ""
    assert pushed(hub) == FILES
    assert hub.count("xet-write-token") == 1, "should be requested once, then done without"


def test_a_card_that_the_hub_refuses(push, tmp_path):
    (tmp_path / "folder" / "README.md").write_text("---\nlicense: mine\n---\n# x\n")
    said = push()
    assert "must be one of the licences" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("pattern", "status", "message"),
    [
        ("/preupload/", 401, "does not accept the token"),
        ("/preupload/", 403, "no write access there"),
        ("/commit/", 409, "changed at the same time; push again"),
        ("/commit/", 429, "too many requests, the Hub asks to wait; push again"),
        ("repos/create", 500, "status 500; push again"),
    ],
)
def test_lasting_errors_are_one_line(hub, push, pattern, status, message):
    hub.fail(pattern, status, times=99)
    said = push()
    assert message in said
    assert "\n" not in said
    hub.faults.clear()
    assert push() == ""
    assert pushed(hub) == FILES
