"""The tests' own Hub, as seen by the unmodified clients."""

import json

import pytest

from tests.hub_server import FakeHub


@pytest.fixture(scope="module")
def hub():
    with FakeHub(part_size=1000) as server:
        yield server


def ok(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CLIENT = """
import hashlib, io, sys
from huggingface_hub import CommitOperationAdd as Add, HfApi, snapshot_download, hf_hub_download
from huggingface_hub import ModelCard, RepoFile
api = HfApi()
assert api.whoami()["name"] == "user"
api.create_repo("user/thing", private=True)
api.create_repo("user/thing", exist_ok=True)
big = bytes(range(256)) * 20
api.create_branch("user/thing", branch="dev/x")
files = {"README.md": b"---\\ntags: [a]\\n---\\n# hi", "big.safetensors": big, "a/b/c.txt": b"text"}
done = api.create_commit("user/thing", [Add(k, v) for k, v in files.items()],
                         commit_message="all", revision="dev/x")
again = api.create_commit("user/thing", [Add(k, v) for k, v in files.items()],
                          commit_message="all", revision="dev/x")
assert again.oid == done.oid, "nothing changed, so no commit"
folder = snapshot_download("user/thing", revision="dev/x")
for name, data in files.items():
    assert open(f"{folder}/{name}", "rb").read() == data, name
assert open(hf_hub_download("user/thing", "big.safetensors", revision=done.oid), "rb").read() == big
tree = {e.path: e for e in api.list_repo_tree("user/thing", recursive=True, revision="dev/x")}
assert list(tree) == sorted([*files, ".gitattributes", "a", "a/b"])
assert tree["big.safetensors"].lfs.sha256 == hashlib.sha256(big).hexdigest()
assert {e.path for e in api.list_repo_tree("user/thing", "a", revision="dev/x")} == {"a/b"}
info = api.get_paths_info("user/thing", ["a/b/c.txt", "none"], revision="dev/x", expand=True)
assert [e.path for e in info] == ["a/b/c.txt"] and info[0].last_commit.title == "all"
assert api.model_info("user/thing", revision="dev/x", files_metadata=True).tags == ["a"]
api.create_tag("user/thing", tag="v1", revision="dev/x")
refs = api.list_repo_refs("user/thing")
assert {b.name for b in refs.branches} == {"main", "dev/x"} and refs.tags[0].name == "v1"
assert [c.title for c in api.list_repo_commits("user/thing", revision="v1")] == [
    "all", "initial commit"]
assert api.file_exists("user/thing", "README.md", revision="v1")
assert not api.file_exists("user/thing", "README.md")
assert api.repo_exists("user/thing") and not api.repo_exists("user/nothing")
"""


def test_models(hub, tmp_path):
    ok(hub.run(tmp_path / "home", CLIENT))
    assert hub.repo("user/thing").private
    assert hub.count(r"PUT /_lfs/\w+/\d+$") == 6, "5120 bytes should arrive in parts of 1000"


def test_rights(hub, tmp_path):
    hub.add("user/secret", {"x.txt": b"x"}, private=True)
    code = """
import sys
from huggingface_hub import HfApi, errors
try:
    HfApi().hf_hub_download("user/secret", "x.txt")
    HfApi().create_commit("user/secret", [], commit_message="m")
except Exception as error:
    print(type(error).__name__, error.response.status_code)
"""
    for token, answer in (
        (None, "RepositoryNotFoundError 401"),
        ("hf_other", "RepositoryNotFoundError 404"),
        ("hf_wrong", "HfHubHTTPError 401"),
        ("hf_user", ""),
    ):
        assert ok(hub.run(tmp_path / str(token), code, token=token)).strip() == answer


DATASET = """
from datasets import load_dataset, get_dataset_config_names
import json, sys
name, options = sys.argv[1], json.loads(sys.argv[2])
data = load_dataset(name, **options)
print(json.dumps({split: data[split].to_list() for split in data}))
"""


def parquet(rows):
    import io

    from datasets import Dataset

    buffer = io.BytesIO()
    Dataset.from_list(rows).to_parquet(buffer)
    return buffer.getvalue()


def test_datasets(hub, tmp_path):
    rows = {s: [{"tokens": [s, "b"], "ner_tags": [0, 1]}] for s in ("train", "validation", "test")}
    hub.add(
        "user/plain",
        {f"data/{split}.jsonl": json.dumps(r[0]).encode() for split, r in rows.items()},
        kind="dataset",
    )
    hub.add("user/script", {"script.py": b"raise SystemExit"}, kind="dataset")
    hub.add(
        "user/script",
        {f"default/{split}/0000.parquet": parquet(r) for split, r in rows.items()},
        kind="dataset",
        revision="refs/convert/parquet",
    )
    for name, options in (
        ("user/plain", {}),
        ("user/script", {"revision": "refs/convert/parquet"}),
    ):
        found = ok(hub.run(tmp_path / name, DATASET, name, json.dumps(options), token=None))
        assert json.loads(found.splitlines()[-1]) == rows
    done = hub.run(tmp_path / "no", DATASET, "user/script", "{}", token=None)
    assert "Dataset scripts are no longer supported" in done.stderr


def test_faults(hub, tmp_path):
    hub.add("user/faulty", {"x.bin": bytes(50_000)})
    code = """
from huggingface_hub import hf_hub_download
print(len(open(hf_hub_download("user/faulty", "x.bin"), "rb").read()))
"""
    hub.cut("GET /_lfs/", 20_000)  # the client requests the rest
    hub.fail("GET /_lfs/", 429, headers={"Retry-After": "0"})
    assert ok(hub.run(tmp_path / "a", code)).strip() == "50000"
    hub.fail("HEAD /user/faulty/resolve", 403, message="no entry")
    done = hub.run(tmp_path / "b", code)
    assert done.returncode == 1
    assert "403" in done.stderr
    hub.cut("HEAD /user/faulty/resolve")
    assert hub.run(tmp_path / "c", code).returncode == 1
    assert not [fault for fault in hub.faults if fault.times]


def test_cards(hub, tmp_path):
    code = """
from huggingface_hub import ModelCard
ModelCard("---\\nlicense: mit\\nlanguage: en\\n---\\n# x").validate()
for bad in ("license: mine", "license: MIT", "language: english", "base_model: a b", "widget: [x]"):
    try:
        ModelCard(f"---\\n{bad}\\n---\\n# x").validate()
    except ValueError as error:
        print(str(error).splitlines()[-1])
"""
    lines = ok(hub.run(tmp_path / "home", code)).splitlines()
    assert len(lines) == 5
