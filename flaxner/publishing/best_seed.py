"""The best of several seeds as a Hub folder, with a card that reports the scores of all of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.labels import LabelScheme
from flaxner.files import manifest, write_folder
from flaxner.files.records import read_record
from flaxner.models.config_json import read_config
from flaxner.models.network import Model
from flaxner.publishing.history import read_run_predictions
from flaxner.publishing.model_card import model_card
from flaxner.runs.folder import RunFolder
from flaxner.runs.kinds import HUB
from flaxner.typed_commands import command_line
from flaxner.wording import few


def publish_seed(whole: RunFolder, best: RunFolder, summary: Mapping[str, Any]) -> list[str]:
    """Copy the model of one seed into hub/ of the multi-seed run, with a card about all seeds.

    Args:
      whole: folder of the multi-seed run.
      best: folder of the chosen seed's run, which has ended.
      summary: content of the multi-seed run's results.json.

    Returns:
      one sentence for each other thing that stays in hub/.

    Raises:
      ValueError: hub/ contains files that flaxner did not write and would have to replace; or
        files of the seed's model are missing.
    """
    files = _model_files(best)
    card = seeds_card(whole, best, summary)

    def fill(draft: Path) -> None:
        for name in files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best.hub / name, draft / name)
        (draft / "README.md").write_text(card, "utf-8")

    return write_folder(whole.hub, HUB, fill)


def _model_files(run: RunFolder) -> list[str]:
    """Return the names of the files in a run's hub/, without the card.

    If a copy has lost the hidden record, these are all files that are not hidden.
    """
    record = read_record(run.hub)
    if record is not None:
        there = list(record.files)
    else:
        there = [name for name in manifest.names_below(run.hub) if not name.startswith(".")]
    names = sorted({*HUB.names, *there} - {HUB.card})
    missing = [name for name in names if not (run.hub / name).is_file()]
    if missing:
        raise ValueError(
            f"{run.hub} lacks {few(missing, 5)}: write the model again with "
            f"{command_line('convert', str(run.path))}"
        )
    return names


def seeds_card(whole: RunFolder, best: RunFolder, summary: Mapping[str, Any]) -> str:
    """Return the card of the best seed's model, with every seed's F1, mean and deviation."""
    fields = read_config(best.model)
    return model_card(
        TrainConfig(**load_settings(best.config)),
        LabelScheme.from_id2label(fields["id2label"]),
        Model.from_fields(fields).encoder,
        best.finished() or {"train": {}},
        predictions=read_run_predictions(best),
        name=whole.path.name,
        seeds=summary,
    )
