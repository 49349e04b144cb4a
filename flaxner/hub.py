"""Files from and to the Hub; nothing about models. The door to `huggingface_hub`."""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoFolder,
    constants,
    get_token,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# What a model folder needs; pickles are never fetched.
MODEL_FILES = ("*.json", "*.safetensors", "flax_model.msgpack", "*.txt", "*.model")


def fetch_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The local folder of a model: the folder itself, or the Hub's files, cached.

    Raises:
      ValueError: neither a folder nor a model on the Hub that can be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    _refuse_lost_path(source, "model")
    try:
        return Path(
            snapshot_download(str(source), revision=revision, allow_patterns=list(MODEL_FILES))
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(_reason(str(source), "model", error)) from error


def fetch_file(source: str | Path, name: str, *, revision: str | None = None) -> Path:
    """One file of a folder or of a Hub model.

    Raises:
      ValueError: it is not there.
    """
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no model folder: it has no {name}")
        return folder / name
    _refuse_lost_path(source, "model")
    try:
        return Path(hf_hub_download(str(source), name, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(_reason(str(source), "model", error)) from error


def dataset_snapshot(name: str, revision: str, folder: str) -> Path:
    """A folder of a data set's repository at a revision, cached; failures are the library's own."""
    where: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    return Path(snapshot_download(name, allow_patterns=[f"{folder}/*"], **where)) / folder


def dataset_folders(name: str, revision: str) -> list[str]:
    """The folders at the top of a data set's repository; without the Hub, those in the cache.

    Failures are the library's own.
    """
    try:
        entries = HfApi().list_repo_tree(name, revision=revision, repo_type="dataset")
        return sorted(entry.path for entry in entries if isinstance(entry, RepoFolder))
    except OfflineModeIsEnabled:
        cached = snapshot_download(name, revision=revision, repo_type="dataset")
        return sorted(path.name for path in Path(cached).iterdir() if path.is_dir())


def dataset_file(name: str, path: str, revision: str | None = None) -> Path:
    """A file of a data set's repository; failures are the library's own."""
    return Path(hf_hub_download(name, path, repo_type="dataset", revision=revision))


def _refuse_lost_path(source: str | Path, kind: str) -> None:
    """A name that can only be a path is no Hub name: say so without asking the network."""
    text = str(source)
    if Path(text).is_file():
        raise ValueError(f"the {kind} must be a folder or a Hub name: {text} is a file")
    if text.startswith((".", "/", "~")) or text.count("/") > 1 or not text:
        raise ValueError(f"there is no {kind} folder {text!r}")


# Error class of huggingface_hub -> what it means to a user, most special first.
REASONS: Sequence[tuple[type[Exception], str]] = (
    (GatedRepoError, "it is gated: accept its terms on its page and log in with `hf auth login`"),
    (RepositoryNotFoundError, "the Hub has none of that name, or it is private: check the name"),
    (RevisionNotFoundError, "it has no such revision"),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set and it is not in the local cache"),
    (LocalEntryNotFoundError, "the Hub could not be reached and it is not in the local cache"),
    (EntryNotFoundError, "it has no such file"),
    (HFValidationError, "that is no folder here and no valid Hub name"),
)


def _reason(name: str, kind: str, error: Exception) -> str:
    for cls, reason in REASONS:
        if isinstance(error, cls):
            return f"cannot get the {kind} {name!r}: {reason}"
    return f"cannot get the {kind} {name!r}: {str(error).splitlines()[0]}"


# Seconds before a push is tried again, each after a failure that may pass.
RETRY_WAITS: Sequence[float] = (1, 2, 4, 8)
LONGEST_WAIT = 60.0  # that a Hub may ask for by Retry-After
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)
# What an earlier push may have left that would contradict the new files.
REPLACED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
    "flax_model.msgpack",
    "tf_model.h5",
    "onnx/*",
    "runs/*",
)

T = TypeVar("T")


def folder_files(folder: str | Path) -> list[tuple[str, int]]:
    """Paths and sizes of what a push of the folder uploads."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [(path.relative_to(folder), path.stat().st_size) for path in files]
    return [
        (name.as_posix(), size)
        for name, size in names
        if not any(part.startswith(".") for part in name.parts)
    ]


def push_folder(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a BERT token classifier trained with flaxner",
) -> str:
    """Upload a folder to a model repository, made if need be, as one commit.

    Failures that may pass are tried again. Files that have arrived are not sent again, and an
    unchanged folder makes no commit, so a push that failed is simply repeated.

    Args:
      folder: what to upload.
      name: USER/NAME.
      private: make the repository private.
      revision: branch, made if need be; main if None.
      message: of the commit.

    Returns:
      address of the commit.

    Raises:
      ValueError: no token, no right, a name that is none, or a Hub that does not answer; one
        sentence that says what to do.
    """
    if get_token() is None:
        raise ValueError(
            "pushing needs a token with write access: run `hf auth login` or set HF_TOKEN"
        )
    api = HfApi(library_name="flaxner")

    def push() -> str:
        api.create_repo(name, private=private or None, exist_ok=True)
        info = api.model_info(name)
        if private and not info.private:
            raise ValueError(
                f"{name} exists and is public: make it private on its page, or push without "
                "--private"
            )
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        files = [path for path, _ in folder_files(folder)]
        there = api.list_repo_files(name, revision=revision)
        gone = [
            path
            for path in there
            if path not in files and any(fnmatch.fnmatch(path, p) for p in REPLACED)
        ]

        def commit() -> str:
            added = [CommitOperationAdd(path, Path(folder) / path) for path in files]
            deleted = [CommitOperationDelete(path) for path in gone]
            done = api.create_commit(
                name, [*added, *deleted], commit_message=message, revision=revision
            )
            return done.commit_url

        try:
            return commit()
        except ConnectionError:  # hf_xet's; httpx's errors are of another family
            with _plain_uploads():
                return commit()

    return _persist(push, name)


@contextlib.contextmanager
def _plain_uploads() -> Iterator[None]:
    """Leave Xet aside: a mirror may not offer it, a firewall not let its second server through."""
    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _persist(action: Callable[[], T], name: str) -> T:
    """The action's result, tried again while its failures may pass."""
    for wait in (*RETRY_WAITS, None):
        try:
            return action()
        except Exception as error:
            passes, reason, asked = _failure(error)
            if passes and wait is not None:
                time.sleep(min(max(wait, asked), LONGEST_WAIT))
                continue
            if reason is None:
                raise
            again = "; repeat the push, what has arrived is not sent again" if passes else ""
            raise ValueError(f"cannot push to {name}: {reason}{again}") from error
    raise AssertionError("unreachable")


# Answer of the Hub -> what it means to who pushes.
REFUSALS = {
    401: "the Hub does not accept the token: run `hf auth login` or set HF_TOKEN to one with "
    "write access",
    403: "the token has no right to write there: use one with write access to that user or "
    "organisation",
    404: "the Hub has no such repository for this token",
    409: "the repository was changed at the same time",
    412: "the repository was changed at the same time",
    429: "the Hub asks to wait (too many requests)",
}


def _failure(error: BaseException) -> tuple[bool, str | None, float]:
    """Whether it may pass, what it means (None: a fault of ours), seconds the Hub asked for."""
    if type(error) is ValueError:  # the client's own words: of the card's metadata, for example
        return False, " ".join(str(error).split()), 0.0
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            reason = REFUSALS.get(status, f"the Hub answers with status {status}")
            asked = cause.response.headers.get("Retry-After", "")
            return status in PASSING, reason, float(asked) if asked.isdigit() else 0.0
        if isinstance(cause, OfflineModeIsEnabled):
            return False, "HF_HUB_OFFLINE is set", 0.0
        if isinstance(cause, HFValidationError):
            return False, "that is no valid repository name, USER/NAME", 0.0
        # httpx's errors, whichever of its releases huggingface_hub uses, and hf_xet's
        if any(c.__name__ == "TransportError" for c in type(cause).__mro__):
            return True, "the connection to the Hub broke off or could not be made", 0.0
        if isinstance(cause, (ConnectionError, TimeoutError)):
            return True, "the connection to the Hub broke off or could not be made", 0.0
    if isinstance(error, ValueError):
        return False, " ".join(str(error).split()), 0.0
    return False, None, 0.0


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
