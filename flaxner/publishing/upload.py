"""A folder -> one commit on the Hub; transient failures are retried."""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from flaxner.hub import WEIGHTS
from flaxner.models.shards import INDEX

# Seconds to wait before each retry of a push after a transient failure.
RETRY_WAITS: Sequence[float] = (1, 2, 4, 8)
LONGEST_WAIT = 60.0  # seconds; upper bound on the Hub's Retry-After
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # status codes of transient failures
# Files that an earlier push may have left and that would contradict the new ones.
REPLACED = (*WEIGHTS, "pytorch_model*", "tf_model*.h5", f"*{INDEX}", "onnx/*", "runs/*")
HISTORY = ("config.toml", "metrics.jsonl", "results.json")  # likewise, from an earlier push
T = TypeVar("T")


def folder_files(folder: str | Path) -> list[tuple[str, int]]:
    """Return paths and sizes of the files that a push of the folder uploads."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [(path.relative_to(folder), path.stat().st_size) for path in files]
    return [
        (name.as_posix(), size)
        for name, size in names
        if not any(part.startswith(".") for part in name.parts)
    ]


def require_name(name: str) -> None:
    """Refuse what cannot be the name of a repository, without asking the Hub.

    Raises:
      ValueError: the name is invalid.
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ValueError(
            f"cannot push to {name}: that is not a valid repository name, USER/NAME"
        ) from None


def require_token() -> None:
    """Refuse to push without a token, without asking the Hub.

    Raises:
      ValueError: there is no token.
    """
    if get_token() is None:
        raise ValueError(
            "pushing needs a token with write access: run `hf auth login` or set HF_TOKEN"
        )


def push_folder(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a token classifier trained with flaxner",
) -> str:
    """Upload a folder to a model repository as one commit, creating the repository if needed.

    Transient failures are retried. Files that have arrived are not sent again, and an unchanged
    folder makes no commit, so a failed push can simply be repeated.

    Args:
      folder: folder to upload.
      name: USER/NAME.
      private: make the repository private.
      revision: branch, created if needed; main if None.
      message: commit message.

    Returns:
      URL of the commit.

    Raises:
      ValueError: the name is invalid, there is no token, the token lacks permission, or the Hub
        does not answer; the message says what to do.
    """
    require_name(name)
    require_token()
    api = HfApi(library_name="flaxner")

    def push() -> str:
        _open_repository(api, name, private, revision)
        there = api.list_repo_files(name, revision=revision)

        def commit() -> str:  # creates its own operations, because an upload modifies them
            changes = _changes(Path(folder), there)
            done = api.create_commit(name, changes, commit_message=message, revision=revision)
            return done.commit_url

        try:
            return commit()
        except ConnectionError:  # raised by hf_xet; httpx has its own exception classes
            with _plain_uploads():
                return commit()

    return _persist(push, name)


def _open_repository(api: HfApi, name: str, private: bool, revision: str | None) -> None:
    """Create the repository and its branch if they do not exist."""
    api.create_repo(name, private=private or None, exist_ok=True)
    if private and not api.model_info(name).private:
        raise ValueError(
            f"{name} exists and is public: make it private on its page, or push without --private"
        )
    if revision is not None:
        api.create_branch(name, branch=revision, exist_ok=True)


def _changes(
    folder: Path, there: Sequence[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Return operations that add every file of the folder and delete contradicting ones."""
    files = [path for path, _ in folder_files(folder)]
    gone = [p for p in there if p not in files and is_among(p, (*REPLACED, *HISTORY))]
    added = [CommitOperationAdd(path, folder / path) for path in files]
    return [*added, *(CommitOperationDelete(path) for path in gone)]


def is_among(path: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern fits a file, in the pattern's own folder.

    `*.safetensors` is no pattern for `adapter/adapter_model.safetensors`.
    """
    folder, _, name = path.rpartition("/")
    parts = (pattern.rpartition("/") for pattern in patterns)
    return any(folder == place and fnmatch.fnmatch(name, own) for place, _, own in parts)


@contextlib.contextmanager
def _plain_uploads() -> Iterator[None]:
    """Disable Xet: a mirror may not offer it, and a firewall may block its second server."""
    before, constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_XET, True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _persist(action: Callable[[], T], name: str) -> T:
    """Return the action's result, retrying while its failures are transient."""
    for wait in (*RETRY_WAITS, None):
        try:
            return action()
        except Exception as error:
            passes, reason, pause = _failure(error)
            if passes and wait is not None:
                time.sleep(min(max(wait, pause), LONGEST_WAIT))
                continue
            if reason is None:
                raise
            again = "; push again, files that have arrived are not resent" if passes else ""
            raise ValueError(f"cannot push to {name}: {reason}{again}") from error
    raise AssertionError("unreachable")


# Status code of the Hub -> what it means for the user.
REFUSALS = {
    401: "the Hub does not accept the token: run `hf auth login` or set HF_TOKEN to one with "
    "write access",
    403: "the token has no write access there: use one with write access to that user or "
    "organisation",
    404: "the Hub has no such repository for this token",
    409: "the repository was changed at the same time",
    412: "the repository was changed at the same time",
    429: "too many requests, the Hub asks to wait",
}


def _failure(error: BaseException) -> tuple[bool, str | None, float]:
    """Return whether it is transient, what it means (None: a bug of ours), and seconds to wait."""
    if type(error) is ValueError:  # the client's own message, such as one about card metadata
        return False, " ".join(str(error).split()), 0.0
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            reason = REFUSALS.get(status, f"the Hub answered with status {status}")
            pause = cause.response.headers.get("Retry-After", "")
            return status in PASSING, reason, float(pause) if pause.isdigit() else 0.0
        if isinstance(cause, OfflineModeIsEnabled):
            return False, "HF_HUB_OFFLINE is set", 0.0
        # Errors of httpx, whichever release of it huggingface_hub uses, and of hf_xet.
        if any(c.__name__ == "TransportError" for c in type(cause).__mro__):
            return True, "the connection to the Hub failed or was lost", 0.0
        if isinstance(cause, (ConnectionError, TimeoutError)):
            return True, "the connection to the Hub failed or was lost", 0.0
    if isinstance(error, ValueError):
        return False, " ".join(str(error).split()), 0.0
    return False, None, 0.0


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
