"""Push a run, or a Hub folder, to the Hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.publishing.conversion import convert
from flaxner.publishing.model_card import has_scores
from flaxner.publishing.upload import folder_files, push_folder, require_name, require_token
from flaxner.runs.folder import RunFolder
from flaxner.wording import number_of


def convert_and_push(
    run_dir: str,
    *,
    push_to_hub: str | None,
    private: bool,
    revision: str | None,
    dry_run: bool,
    force: bool,
    **conversion: Any,
) -> Iterator[str]:
    """Do what scripts/convert_and_push.py does, yielding the lines to print.

    Raises:
      ValueError: as in `convert` and `push_to_hub`.
    """
    if push_to_hub is not None:
        require_name(push_to_hub)
        if not dry_run:
            require_token()
    result = convert(run_dir, name=push_to_hub, **conversion)
    yield f"step {result.step} -> {result.folder}"
    yield from result.notes
    for who, difference in (
        ("PyTorch", result.difference),
        ("ONNX Runtime", result.onnx_difference),
    ):
        if difference is not None:
            yield (
                f"{who}'s logits match ours on {result.compared_on}: "
                f"largest difference {difference:.1e}"
            )
    if dry_run:
        yield describe(result.folder)
        yield "dry run: nothing was pushed" + (
            f"; without --dry-run, the files above would go to {push_to_hub}" if push_to_hub else ""
        )
    elif push_to_hub is not None:
        _require_scores(result.folder, force=force, scored=result.scored)
        yield push_folder(result.folder, push_to_hub, private=private, revision=revision)


def push_to_hub(
    source: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    force: bool = False,
) -> str:
    """Upload a run's best model, or a Hub folder as it is, as one commit.

    Args:
      source: output folder of a run, or a Hub folder.
      name: USER/NAME.
      private: make the repository private.
      revision: branch, created if needed; main if None.
      force: push even a model that has not been scored.

    Returns:
      URL of the commit.

    Raises:
      ValueError: `source` is neither a run nor a model folder, the model has no scores, or as in
        `upload.push_folder`.
    """
    require_name(name)
    folder, scored = Path(source), True
    run = RunFolder(folder)
    if run.members() or (run.config.is_file() and run.checkpoints.is_dir()):
        result = convert(folder, name=name)
        for text in result.notes:
            warnings.warn(text, stacklevel=2)
        folder, scored = result.folder, result.scored
    _require_scores(folder, force=force, scored=scored)
    return push_folder(folder, name, private=private, revision=revision)


def _require_scores(folder: Path, *, force: bool, scored: bool) -> None:
    """Refuse a folder that is no model or, unless forced, one whose model or card has no scores.

    Raises:
      ValueError: the folder is refused.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is neither a run nor a model folder: it has no config.json")
    card = folder / "README.md"
    told = card.is_file() and has_scores(card.read_text("utf-8"))
    if not (scored and told) and not force:
        raise ValueError(
            f"the model in {folder} has not been scored: let the run finish, choose its best step, "
            f"or push it anyway with --force"
        )


def describe(folder: str | Path) -> str:
    """Return what a push would upload: files, sizes in bytes, and the card."""
    files = folder_files(folder)
    lines = [f"{size:>14,}  {path}" for path, size in files]
    total = f"{sum(size for _, size in files):>14,}  total, {number_of(len(files), 'files')}"
    card = (Path(folder) / "README.md").read_text("utf-8")
    return "\n".join([*lines, total, "", card])
