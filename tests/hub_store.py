"""The content of `tests.hub_server`: users, repositories, commits, files, and card rules."""

import base64
import fnmatch
import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

LFS_PATTERNS = (
    "*.safetensors", "*.onnx", "*.msgpack", "*.bin", "*.h5", "*.parquet", "*.arrow", "*.gz",
    "*.zip", "*.pt", "*.pkl", "*tfevents*",
)  # fmt: skip
REGULAR_LIMIT = 10_000_000


class HubError(Exception):
    """An error response."""

    def __init__(
        self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = headers or {}


@dataclass(frozen=True)
class Blob:
    """A file's content."""

    data: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """Git's blob id: of the pointer file for an LFS file."""
        data = self.data
        if self.lfs:
            data = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n"
                f"size {len(self.data)}\n"
            ).encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Commit:
    """A snapshot of the files."""

    oid: str
    parent: str | None
    title: str
    message: str
    date: str
    files: dict[str, Blob]


class Store:
    """Users by token, repositories by kind and name, LFS objects by SHA-256."""

    def __init__(self) -> None:
        self.tokens = {"hf_user": "user", "hf_other": "other"}
        self.read_only = {"hf_reader": "user"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self._may_write = True

    def user(self, authorization: str | None) -> str | None:
        """Return the user of a token; None if there is no token."""
        self._may_write = True
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ")
        if token in self.read_only:
            self._may_write = False
            return self.read_only[token]
        if token not in self.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.tokens[token]

    def create(
        self, kind: str, repo_id: str, *, private: bool = False, exist_ok: bool = False
    ) -> "Repo":
        if (kind, repo_id) in self.repos and exist_ok:
            return self.repos[kind, repo_id]
        if not self._may_write:
            raise HubError(403, "you must use a write token to create a repo")
        self.repos[kind, repo_id] = repo = Repo(kind, repo_id, private)
        return repo

    def find(self, kind: str, repo_id: str, user: str | None, *, write: bool = False) -> "Repo":
        """Return a repository that `user` may read, or write."""
        repo = self.repos.get((kind, repo_id))
        owner = repo_id.split("/")[0]
        if repo is None or (repo.private and user != owner):
            status = 404 if user else 401
            raise HubError(status, "Repository not found", "RepoNotFound")
        if repo.gated and user != owner:
            raise HubError(
                403 if user else 401, f"Access to {kind} {repo_id} is restricted", "GatedRepo"
            )
        if write and user is None:
            raise HubError(401, "Invalid username or password.")
        if write and (user != owner or not self._may_write):
            raise HubError(
                403, "Authorization error: your token lacks write access to this repository"
            )
        return repo

    def put_lfs(self, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise HubError(400, "the content does not have the announced SHA-256")
        self.lfs[oid] = data


@dataclass
class Repo:
    """A repository; refs are branches and refs/... names."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in LFS_PATTERNS)
        self._append("main", None, {".gitattributes": Blob(lines.encode())}, "initial commit", "")

    def _append(
        self, ref: str, parent: str | None, files: dict[str, Blob], title: str, message: str
    ) -> str:
        text = repr((self.id, len(self.commits), parent, title, sorted(files)))
        oid = hashlib.sha1(text.encode()).hexdigest()
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.commits[oid] = Commit(oid, parent, title, message, date, files)
        self.refs[ref] = oid
        return oid

    def resolve(self, revision: str) -> str:
        """Resolve a branch, tag or commit to a commit."""
        short = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        found = self.refs.get(revision) or self.tags.get(revision) or (short and short[0])
        if not found:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def files(self, revision: str) -> dict[str, Blob]:
        """Return path -> content."""
        return self.commits[self.resolve(revision)].files

    def branch(self, name: str, start: str | None) -> None:
        """Create a branch, from a revision or empty."""
        if start is None:
            self._append(name, None, {}, "initial commit", "")
        else:
            self.refs[name] = self.resolve(start)

    def commit(self, revision: str, files: dict[str, bytes], *, title: str) -> str:
        """Commit files, as LFS files where the Hub would do so."""
        parent = self.resolve(revision)
        blobs = {path: Blob(data, is_binary(path, len(data), data)) for path, data in files.items()}
        return self._append(revision, parent, {**self.files(parent), **blobs}, title, "")

    def commit_lines(
        self, revision: str, header: dict[str, Any], lines: list[dict[str, Any]],
        lfs: dict[str, bytes],
    ) -> str:  # fmt: skip
        """Apply a commit as sent by clients, one JSON object per line; all or nothing."""
        parent = self.resolve(revision)
        if revision not in self.refs:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if not parent.startswith(header.get("parentCommit") or ""):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.files(parent))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in lfs:
                    raise HubError(400, f"LFS object {value['oid']} was not uploaded")
                files[value["path"]] = Blob(lfs[value["oid"]], lfs=True)
            elif line["key"] in ("deletedFile", "deletedFolder"):
                gone = value["path"].rstrip("/")
                hit = [p for p in files if p == gone or p.startswith(f"{gone}/")]
                if not hit:
                    raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                for path in hit:
                    del files[path]
        return self._append(revision, parent, files, header["summary"], header["description"])

    def references(self) -> dict[str, list[dict[str, str]]]:
        """Return what list_repo_refs expects."""
        found: dict[str, list[dict[str, str]]] = {
            "branches": [], "converts": [], "tags": [], "pullRequests": [],
        }  # fmt: skip
        for name, oid in self.refs.items():
            key = "converts" if name.startswith("refs/convert/") else "branches"
            short = name.removeprefix("refs/convert/")
            ref = name if name.startswith("refs/") else f"refs/heads/{name}"
            found[key].append({"name": short, "ref": ref, "targetCommit": oid})
        found["tags"] = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid}
            for name, oid in self.tags.items()
        ]
        return found

    def history(self, revision: str) -> list[dict[str, Any]]:
        """Return the commits, newest first."""
        made, oid = [], self.resolve(revision)
        while oid:
            c = self.commits[oid]
            authors = [{"user": self.id.split("/")[0]}]
            made.append({"id": c.oid, "title": c.title, "message": c.message, "authors": authors,
                         "date": c.date})  # fmt: skip
            oid = c.parent or ""
        return made

    def info(self, revision: str, *, blobs: bool) -> dict[str, Any]:
        """Return what model_info and dataset_info expect."""
        oid = self.resolve(revision)
        files = self.files(oid)
        siblings: list[dict[str, Any]] = []
        for path, blob in sorted(files.items()):
            entry = {"rfilename": path}
            if blobs:
                entry |= {k: v for k, v in _entry(path, blob).items() if k in ("size", "lfs")}
                entry["blobId"] = blob.oid
                if blob.lfs:
                    entry["lfs"] = {
                        "sha256": blob.sha256,
                        "size": len(blob.data),
                        "pointerSize": 130,
                    }
            siblings.append(entry)
        card = metadata(files["README.md"].data.decode()) if "README.md" in files else {}
        card = card if isinstance(card, dict) else {}
        date = self.commits[oid].date
        return {
            "_id": "0" * 24, "id": self.id, "modelId": self.id, "author": self.id.split("/")[0],
            "sha": oid, "private": self.private, "gated": "auto" if self.gated else False,
            "disabled": False, "downloads": 0, "likes": 0, "createdAt": date, "lastModified": date,
            "tags": card.get("tags", []), "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"), "cardData": card,
            "siblings": siblings,
        }  # fmt: skip

    def tree(
        self, revision: str, folder: str, *, recursive: bool, expand: bool
    ) -> list[dict[str, Any]]:
        """Return the files and folders in a folder."""
        commit = self.commits[self.resolve(revision)]
        start = f"{folder}/" if folder else ""
        inside = {path: blob for path, blob in commit.files.items() if path.startswith(start)}
        if folder and not inside:
            raise HubError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in inside.items():
            parts = path.removeprefix(start).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                name = start + "/".join(parts[:depth])
                entries[name] = _folder(name)
            if recursive or len(parts) == 1:
                entries[path] = _entry(path, blob)
        if expand:
            last = {"id": commit.oid, "title": commit.title, "date": commit.date}
            entries = {path: {**entry, "lastCommit": last} for path, entry in entries.items()}
        return [entries[path] for path in sorted(entries)]

    def paths(self, revision: str, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
        """Return the entries of those paths that exist."""
        whole = self.tree(revision, "", recursive=True, expand=expand)
        wanted = {path.strip("/") for path in paths}
        return [entry for entry in whole if entry["path"] in wanted]


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode()).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
    return entry


def is_binary(path: str, size: int, sample: str | bytes) -> bool:
    """Return whether the Hub would store a file with LFS."""
    head = base64.b64decode(sample) if isinstance(sample, str) else sample[:512]
    by_name = any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], p) for p in LFS_PATTERNS)
    return by_name or size > REGULAR_LIMIT or b"\0" in head


def metadata(content: str) -> Any:
    """Return the YAML front matter of a README.md."""
    match = re.match(r"---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
    return yaml.safe_load(match[1]) if match else {}


# As listed in the Hub's own error message.
LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc lppl-1.3c ms-pl apple-ascl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1
ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3 llama3.1 llama3.2 llama3.3
gemma unknown other
"""
REPO_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Return errors and warnings about a card's metadata, like those of the Hub."""
    try:
        card = metadata(content)
    except yaml.YAMLError as error:
        return [f"YAML metadata is not valid: {error}"], []
    if not card:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(card, dict):
        return ["metadata must be a mapping"], []
    errors = []
    for name in ("base_model", "datasets"):
        for value in _listed(card.get(name)):
            if not isinstance(value, str) or not REPO_NAME.fullmatch(value):
                errors.append(f'"{name}" with value {value!r} is not valid. Use an id of the Hub')
    for value in _listed(card.get("language")):
        if not isinstance(value, str) or not re.fullmatch(r"[a-z]{2,3}|code|multilingual", value):
            errors.append(f'"language" with value {value!r} is not valid: use an ISO 639 code')
    for value in _listed(card.get("license")):
        if value not in LICENSES.split():
            errors.append(f'"license" must be one of the licences that the Hub lists: {value!r}')
    for name in ("library_name", "pipeline_tag"):
        value = card.get(name)
        if value is not None and not (isinstance(value, str) and value == value.lower()):
            errors.append(f'"{name}" must be a lower-case string: {value!r}')
    if not all(isinstance(tag, str) for tag in _listed(card.get("tags"))):
        errors.append('"tags" must be strings')
    for item in _listed(card.get("widget")):
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            errors.append('"widget" items must have a "text"')
    for index, model in enumerate(_listed(card.get("model-index"))):
        errors += _index_errors(f"model-index[{index}]", model)
    return errors, []


def _index_errors(where: str, model: Any) -> list[str]:
    errors = [] if isinstance(model.get("name"), str) else [f'"{where}.name" is required']
    for number, result in enumerate(_listed(model.get("results"))):
        here = f"{where}.results[{number}]"
        dataset = result.get("dataset", {})
        required = {
            "task.type": result.get("task", {}).get("type"),
            "dataset.type": dataset.get("type"),
            "dataset.name": dataset.get("name"),
        }
        errors += [f'"{here}.{key}" is required' for key, value in required.items() if not value]
        for metric in _listed(result.get("metrics")):
            if not metric.get("type") or metric.get("value") is None:
                errors.append(f'"{here}.metrics" need "type" and "value"')
    return errors


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
