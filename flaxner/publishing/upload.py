"""A folder -> one commit on the Hub; failures that may pass are tried again."""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Callable, Iterator, Sequence
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

# Seconds before a push is tried again, each after a failure that may pass.
RETRY_WAITS: Sequence[float] = (1, 2, 4, 8)
LONGEST_WAIT = 60.0  # that a Hub may ask for by Retry-After
PASSING = (408, 409, 412, 429, 500, 502, 503, 504)  # answers that may be others the next time
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
HISTORY = ("config.toml", "metrics.jsonl", "results.json")  # of an earlier push, likewise
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
    message: str = "Upload a token classifier trained with flaxner",
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
        _open_repository(api, name, private, revision)
        there = api.list_repo_files(name, revision=revision)

        def commit() -> str:  # with operations of its own: an upload leaves its mark on them
            changes = _changes(Path(folder), there)
            done = api.create_commit(name, changes, commit_message=message, revision=revision)
            return done.commit_url

        try:
            return commit()
        except ConnectionError:  # hf_xet's; httpx's errors are of another family
            with _plain_uploads():
                return commit()

    return _persist(push, name)


def _open_repository(api: HfApi, name: str, private: bool, revision: str | None) -> None:
    """Make the repository and its branch where they are not there."""
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
    """Every file of the folder, and what of `there` would contradict them."""
    files = [path for path, _ in folder_files(folder)]
    gone = [
        path
        for path in there
        if path not in files
        and any(fnmatch.fnmatch(path, pattern) for pattern in (*REPLACED, *HISTORY))
    ]
    added = [CommitOperationAdd(path, folder / path) for path in files]
    return [*added, *(CommitOperationDelete(path) for path in gone)]


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
            passes, reason, pause = _failure(error)
            if passes and wait is not None:
                time.sleep(min(max(wait, pause), LONGEST_WAIT))
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
            pause = cause.response.headers.get("Retry-After", "")
            return status in PASSING, reason, float(pause) if pause.isdigit() else 0.0
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
