"""A fake Hub on 127.0.0.1 for tests: the HTTP API that the real clients use.

`huggingface_hub` reads HF_ENDPOINT on import, so a client of this server must be a child process,
started by `FakeHub.run` or with `FakeHub.environment`.

    with FakeHub() as hub:
        hub.add("user/name", {"config.json": b"{}"})
        hub.fail("/resolve/", 500, times=2)
        hub.run(tmp_path, "from huggingface_hub import hf_hub_download; ...")
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_store import HubError, Repo, Store, check_card, is_binary

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Fault:
    """A fault in the next matching requests.

    Attributes:
      pattern: searched in "METHOD /path?query".
      times: number of requests that are affected.
      status: status of the answer, instead of the real answer.
      cut: cut the connection "before" the request is processed, "after" it (the answer is lost), or
        after this many bytes of the answer's body.
    """

    pattern: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "injected"
    cut: str | int | None = None


@dataclass
class Reply:
    """An answer, before it is sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Reply":
        body = json.dumps(value).encode()
        return cls(status, body, {"Content-Type": "application/json", **headers})


class FakeHub:
    """The server; a context manager. `store` holds users and repositories."""

    def __init__(self, part_size: int = 5_000_000) -> None:
        self.store = Store()
        self.part_size = part_size  # larger LFS files are uploaded in parts of this size
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.crashes: list[str] = []
        self.lock = threading.RLock()

    def __enter__(self) -> "FakeHub":
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.cdn = self.url.replace("127.0.0.1", "localhost")  # a different host for clients
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        assert not self.crashes, self.crashes

    def add(self, repo_id: str, files: dict[str, bytes], *, kind: str = "model",
            revision: str = "main", private: bool = False) -> str:  # fmt: skip
        """Add files to a repository, created if needed; return the commit."""
        with self.lock:
            repo = self.store.create(kind, repo_id, private=private, exist_ok=True)
            if revision not in repo.refs:
                orphan = revision.startswith("refs/convert/")  # has converted files only
                repo.branch(revision, None if orphan else "main")
            oid = repo.commit(revision, files, title="add")
            for blob in repo.files(oid).values():
                self.store.lfs |= {blob.sha256: blob.data} if blob.lfs else {}
            return oid

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """Return an existing repository."""
        return self.store.repos[kind, repo_id]

    def fail(self, pattern: str, status: int, *, times: int = 1, message: str = "injected",
             headers: dict[str, str] | None = None) -> None:  # fmt: skip
        """Answer the next `times` matching requests with an error."""
        self.faults.append(Fault(pattern, times, status, headers or {}, message))

    def cut(self, pattern: str, when: str | int = "before", *, times: int = 1) -> None:
        """Cut the connection of the next `times` matching requests; see `Fault.cut`."""
        self.faults.append(Fault(pattern, times, cut=when))

    def fault_for(self, line: str) -> Fault | None:
        """Return the fault for a request, if any, and count it down."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None

    def count(self, pattern: str) -> int:
        """Return how many requests matched."""
        return sum(bool(re.search(pattern, line)) for line in self.requests)

    def environment(
        self, home: Path, *, token: str | None = "hf_user", **extra: str
    ) -> dict[str, str]:
        """Return the environment of a child process that uses this Hub, with caches in `home`."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        kept.pop("TRANSFORMERS_OFFLINE", None)
        if token is not None:
            kept["HF_TOKEN"] = token
        return {
            **kept,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",  # Xet needs a second server; this Hub has plain LFS
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
            **extra,
        }

    def run(self, home: Path, code: str, *arguments: str, token: str | None = "hf_user",
            **extra: str) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run Python code, or a script named by its path, in a fresh process."""
        home.mkdir(parents=True, exist_ok=True)
        head = [code] if code.endswith(".py") else ["-c", code]
        return subprocess.run(
            [sys.executable, *head, *arguments],
            env=self.environment(home, token=token, **extra),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=home,
        )


KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
NAME = r"(?P<id>[\w.-]+/[\w.-]+)"
PREFIX = r"(?:(?P<kinds>datasets|spaces)/)?"
API = rf"/api/(?P<kinds>models|datasets|spaces)/{NAME}"

# method, path -> name of the handler's method; revisions and paths are still URL-quoted here.
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", rf"{API}/preupload/(?P<rev>[^/]+)", "preupload"),
    ("POST", rf"{API}/commit/(?P<rev>[^/]+)", "commit"),
    ("POST", rf"{API}/paths-info/(?P<rev>[^/]+)", "paths_info"),
    ("POST", rf"{API}/branch/(?P<rev>.+)", "branch"),
    ("POST", rf"{API}/tag/(?P<rev>[^/]+)", "tag"),
    ("GET", rf"{API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?", "tree"),
    ("GET", rf"{API}/commits/(?P<rev>[^/]+)", "commits"),
    ("GET", rf"{API}/refs", "refs"),
    ("GET", rf"{API}(?:/revision/(?P<rev>[^/]+))?", "info"),
    ("GET", rf"{API}/auth-check(?P<write>/write)?", "auth_check"),
    ("POST", rf"/{PREFIX}{NAME}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/_lfs/(?P<oid>\w{64})(?:/(?P<part>\d+))?", "lfs_put"),
    ("POST", r"/_lfs/(?P<oid>\w{64})/complete", "lfs_complete"),
    ("GET", r"/_lfs/(?P<oid>\w{64})", "lfs_get"),
    ("GET", rf"/{PREFIX}{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
]  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """One request; `hub` is set on the subclass."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def answer(self) -> None:
        line = f"{self.command} {self.path}"
        self.hub.requests.append(line)
        fault = self.hub.fault_for(line)
        cut = fault.cut if fault else None
        if cut == "before":
            self.close_connection = True
            self.connection.close()
            return
        self.body = self.read_body()
        if fault and fault.status:
            reply = Reply.json(
                {"error": fault.message}, fault.status, **{"X-Error-Message": fault.message}
            )
            reply.headers |= fault.headers
        else:
            with self.hub.lock:
                reply = self.route()
        if cut == "after":
            self.close_connection = True
            self.connection.close()
            return
        self.send(reply, cut if isinstance(cut, int) else None)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, reply: Reply, cut: int | None) -> None:
        body, status = reply.body, reply.status
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted and status == 200:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(body)), len(body) - 1)
            reply.headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            status = 206 if first < len(body) else 416
            body = body[first : last + 1] if status == 206 else b""
        self.send_response(status)
        for name, value in {"X-Request-Id": "local", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def route(self) -> Reply:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        method = "GET" if self.command == "HEAD" else self.command
        for verb, pattern, name in ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and verb == method:
                found = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                self.found, self.rev = found, found.get("rev", "main")
                try:
                    self.user = self.hub.store.user(self.headers.get("Authorization"))
                    return getattr(self, f"reply_{name}")()
                except HubError as error:
                    headers = {"X-Error-Message": error.message, **error.headers}
                    if error.code:
                        headers["X-Error-Code"] = error.code
                    return Reply.json({"error": error.message}, error.status, **headers)
                except Exception as error:  # a bug in this server: the test must fail
                    self.hub.crashes.append(f"{method} {self.path}: {error!r}")
                    return Reply.json({"error": repr(error)}, 500)
        return Reply.json({"error": f"no route {method} {url.path}"}, 404)

    def repo(self, write: bool = False) -> Repo:
        kind = KINDS[self.found.get("kinds", "models")]
        return self.hub.store.find(kind, self.found["id"], self.user, write=write)

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["0"])[0].lower() in ("true", "1")

    def reply_whoami(self) -> Reply:
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        role = {"accessToken": {"displayName": "test", "role": "write"}}
        return Reply.json({"type": "user", "name": self.user, "orgs": [], "auth": role})

    def reply_auth_check(self) -> Reply:
        self.repo(write="write" in self.found)
        return Reply.json({})

    def reply_create(self) -> Reply:
        asked = json.loads(self.body)
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        owner, kind = asked.get("organization") or self.user, asked.get("type") or "model"
        if owner != self.user:
            raise HubError(
                403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
            )
        name = f"{owner}/{asked['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        private = asked.get("visibility") == "private" or asked.get("private") is True
        made = {"url": f"{self.hub.url}/{prefix}{name}", "name": name, "id": name}
        if (kind, name) in self.hub.store.repos:
            error = {"error": f"You already created this {kind} repo: {name}", **made}
            return Reply.json(error, 409, **{"X-Error-Message": "You already created this repo"})
        self.hub.store.create(kind, name, private=private)
        return Reply.json(made)

    def reply_validate(self) -> Reply:
        asked = json.loads(self.body)
        errors, warnings = check_card(asked["content"])
        found = {
            "errors": [{"message": text} for text in errors],
            "warnings": [{"message": text} for text in warnings],
        }
        return Reply.json(found, 400 if errors else 200)

    def reply_preupload(self) -> Reply:
        repo = self.repo(write=True)
        files = repo.files(self.rev)
        answers = []
        for item in json.loads(self.body)["files"]:
            lfs = is_binary(item["path"], item["size"], item["sample"])
            old = files.get(item["path"])
            oid = None if old is None else old.sha256 if old.lfs else old.oid
            mode = "lfs" if lfs else "regular"
            answers.append(
                {"path": item["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        return Reply.json({"files": answers})

    def reply_lfs_batch(self) -> Reply:
        self.repo(write=True)
        objects = []
        for item in json.loads(self.body)["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.store.lfs:
                href = f"{self.hub.cdn}/_lfs/{item['oid']}"
                upload: dict[str, Any] = {"href": href}
                if item["size"] > self.hub.part_size:
                    parts = -(-item["size"] // self.hub.part_size)
                    upload["header"] = {"chunk_size": str(self.hub.part_size)}
                    upload["header"] |= {f"{i:05d}": f"{href}/{i}" for i in range(1, parts + 1)}
                    upload["href"] = f"{href}/complete"
                answer["actions"] = {"upload": upload}
            objects.append(answer)
        return Reply.json({"transfer": "basic", "objects": objects})

    def reply_lfs_put(self) -> Reply:
        oid, part = self.found["oid"], self.found.get("part")
        etag = hashlib.md5(self.body).hexdigest()
        if part is not None:
            self.hub.store.parts[oid, int(part)] = self.body
        else:
            self.hub.store.put_lfs(oid, self.body)
        return Reply(headers={"ETag": f'"{etag}"'})

    def reply_lfs_complete(self) -> Reply:
        oid, parts = self.found["oid"], self.hub.store.parts
        numbers = sorted(part["partNumber"] for part in json.loads(self.body)["parts"])
        self.hub.store.put_lfs(oid, b"".join(parts[oid, number] for number in numbers))
        return Reply.json({"success": True})

    def reply_lfs_get(self) -> Reply:
        data = self.hub.store.lfs[self.found["oid"]]
        return Reply(body=data, headers={"ETag": f'"{self.found["oid"]}"'})

    def reply_commit(self) -> Reply:
        repo = self.repo(write=True)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        oid = repo.commit_lines(self.rev, header, lines, self.hub.store.lfs)
        url = f"{self.hub.url}/{repo.id}/commit/{oid}"
        return Reply.json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def reply_branch(self) -> Reply:
        repo = self.repo(write=True)
        if self.rev in repo.refs:
            raise HubError(409, f"Reference already exists: {self.rev}")
        start = json.loads(self.body or b"{}").get("startingPoint") or "main"
        repo.branch(self.rev, start)
        return Reply.json({}, 201)

    def reply_tag(self) -> Reply:
        repo, tag = self.repo(write=True), json.loads(self.body)["tag"]
        if tag in repo.tags:
            raise HubError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = repo.resolve(self.rev)
        return Reply.json({}, 201)

    def reply_info(self) -> Reply:
        return Reply.json(self.repo().info(self.rev, blobs=self.flag("blobs")))

    def reply_refs(self) -> Reply:
        return Reply.json(self.repo().references())

    def reply_commits(self) -> Reply:
        return Reply.json(self.repo().history(self.rev))

    def reply_tree(self) -> Reply:
        entries = self.repo().tree(
            self.rev,
            self.found.get("path", ""),
            recursive=self.flag("recursive"),
            expand=self.flag("expand"),
        )
        size = 50 if self.flag("expand") else 1000
        first = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if first + size < len(entries):
            base = re.sub(r"[&?]cursor=\d+", "", self.path)
            link = f"{self.hub.url}{base}{'&' if '?' in base else '?'}cursor={first + size}"
            headers["Link"] = f'<{link}>; rel="next"'
        return Reply.json(entries[first : first + size], **headers)

    def reply_paths_info(self) -> Reply:
        if (self.headers.get("Content-Type") or "").startswith("application/json"):
            asked = json.loads(self.body)
            paths, expand = asked["paths"], bool(asked.get("expand"))
        else:
            form = parse_qs(self.body.decode())
            paths = form.get("paths", [])
            expand = form.get("expand", ["false"])[0].lower() == "true"
        return Reply.json(self.repo().paths(self.rev, paths, expand=expand))

    def reply_resolve(self) -> Reply:
        repo = self.repo()
        commit = repo.resolve(self.rev)
        blob = repo.files(commit).get(self.found["path"])
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if blob is None:
            raise HubError(404, "Entry not found", "EntryNotFound", headers)
        if not blob.lfs:
            return Reply(200, blob.data, {**headers, "ETag": f'"{blob.oid}"'})
        headers |= {
            "X-Linked-Etag": f'"{blob.sha256}"',
            "X-Linked-Size": str(len(blob.data)),
            "Location": f"{self.hub.cdn}/_lfs/{blob.sha256}",
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        }
        return Reply(302, b"", headers)
