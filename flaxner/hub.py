"""Fetch files from the Hub; knows nothing about models. Imports `huggingface_hub` lazily."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.wording import few, first_line

# The files that a model folder needs, and the weights that are fetched if it has no others.
WEIGHTS = ("*.safetensors", "flax_model*.msgpack")
MODEL_FILES = ("*.json", *WEIGHTS, "*.txt", "*.model")
OLD_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin")


def fetch_model(source: str | Path, *, revision: str | None = None) -> Path:
    """Return the local folder of a model: the folder itself, or the cached files from the Hub.

    Raises:
      ValueError: `source` is neither a folder nor a reachable model on the Hub.
    """
    if Path(source).is_dir():
        return Path(source)
    name = _hub_name(source)
    from huggingface_hub import snapshot_download

    with _one_sentence(name):
        fetch = functools.partial(snapshot_download, name, revision=revision)
        folder = Path(fetch(allow_patterns=list(MODEL_FILES)))
        if not any(path for kind in WEIGHTS for path in folder.glob(kind)):
            fetch(allow_patterns=list(OLD_WEIGHTS))
        return folder


def fetch_file(source: str | Path, name: str, *, revision: str | None = None) -> Path:
    """Return the path of one file of a local folder or of a Hub model.

    Raises:
      ValueError: the file does not exist.
    """
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a model folder: it has no {name}{_inside(folder)}")
        return folder / name
    repository = _hub_name(source)
    from huggingface_hub import hf_hub_download

    with _one_sentence(repository):
        return Path(hf_hub_download(repository, name, revision=revision))


def _inside(folder: Path) -> str:
    """Say where the model is: in a folder of a run or of a Trainer, or not in an adapter's."""
    if (folder / "adapter_config.json").is_file():
        return "; merge the adapter into its model first, with merge_and_unload of PEFT"
    models = [path.parent for path in folder.glob("*/config.json") if _has_weights(path.parent)]
    models = [path for path in models if path.name == "hub"] or sorted(models)
    return f"; did you mean {few([*map(str, models)])}?" if models else ""


def _has_weights(folder: Path) -> bool:
    """Whether a folder is a whole model, unlike model/ of a run."""
    return any(path for kind in (*WEIGHTS, *OLD_WEIGHTS) for path in folder.glob(kind))


def dataset_snapshot(name: str, revision: str, folder: str) -> Path:
    """Return a cached folder of a data set repository; raises the library's own errors."""
    from huggingface_hub import snapshot_download

    where: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    return Path(snapshot_download(name, allow_patterns=[f"{folder}/*"], **where)) / folder


def dataset_folders(name: str, revision: str) -> list[str]:
    """Return the top-level folders of a data set repository; when offline, those in the cache.

    Raises the library's own errors.
    """
    from huggingface_hub import HfApi, RepoFolder, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        entries = HfApi().list_repo_tree(name, revision=revision, repo_type="dataset")
        return sorted(entry.path for entry in entries if isinstance(entry, RepoFolder))
    except OfflineModeIsEnabled:
        cached = snapshot_download(name, revision=revision, repo_type="dataset")
        return sorted(path.name for path in Path(cached).iterdir() if path.is_dir())


def dataset_file(name: str, path: str, revision: str | None = None) -> Path:
    """Return the path of a file of a data set repository; raises the library's own errors."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, path, repo_type="dataset", revision=revision))


def _hub_name(source: str | Path) -> str:
    """Return a name to ask the Hub for; refuse one that can only be a missing local path."""
    text = str(source)
    if Path(text).is_file():
        raise ValueError(f"the model must be a folder or a Hub name: {text} is a file")
    if text.startswith((".", "/", "~")) or text.count("/") > 1 or not text:
        raise ValueError(f"there is no model folder {text!r}")
    return text


# Error class of huggingface_hub or its HTTP client (httpx or httpx2) -> what it means to a user,
# most specific first. Listed by name, because the library takes half a second to import and local
# folders do not need it.
REASONS = {
    "GatedRepoError": "it is gated: accept its terms on its page and log in with `hf auth login`",
    "RepositoryNotFoundError": "there is no such folder, and on the Hub it does not exist or is "
    "private: check the name",
    "RevisionNotFoundError": "it has no such revision",
    "OfflineModeIsEnabled": "it is neither a folder nor in the local cache, and HF_HUB_OFFLINE is "
    "set",
    "LocalEntryNotFoundError": "it is neither a folder nor in the local cache, and the Hub "
    "cannot be reached",
    "EntryNotFoundError": "it has no config.json (an adapter of PEFT must first be merged into its "
    "model)",
    "HFValidationError": "it is neither a local folder nor a valid Hub name",
    "TransportError": "the connection to the Hub failed or was lost",
}


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """Turn the errors of the Hub's library into a ValueError; most of them derive from OSError."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and REASONS.keys().isdisjoint(_classes(error)):
            raise
        raise ValueError(f"cannot get the model {name!r}: {_reason(error)}") from error


def _classes(error: BaseException | None) -> set[str]:
    """Return the names of an error's class and its bases."""
    return {cls.__name__ for cls in type(error).__mro__}


def _reason(error: Exception) -> str:
    # Offline, the library reports a missing file; only the cause says that it was not looked for.
    classes = _classes(error) | _classes(error.__cause__)
    for known, reason in REASONS.items():
        if known in classes:
            return reason
    return first_line(error)
