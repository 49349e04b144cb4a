"""The best of several seeds as a Hub folder, whose card tells what the others scored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.labels import LabelScheme
from flaxner.files import write_folder
from flaxner.files.records import read_record
from flaxner.models.config_json import read_config
from flaxner.models.network import Model
from flaxner.publishing.history import read_run_predictions
from flaxner.publishing.model_card import model_card
from flaxner.runs.folder import RunFolder
from flaxner.runs.kinds import HUB


def publish_seed(whole: RunFolder, best: RunFolder, summary: Mapping[str, Any]) -> list[str]:
    """Copy the model of one seed into hub/ of the whole, with a card about all.

    Args:
      whole: the folder of the run with several seeds.
      best: that of the seed, which has ended.
      summary: results.json of the whole.

    Returns:
      what stays in hub/ that is not of this writing, one sentence each.

    Raises:
      ValueError: hub/ holds files of others in the way.
    """
    record = read_record(best.hub)
    files = [] if record is None else list(record.files)
    card = seeds_card(whole, best, summary)

    def fill(draft: Path) -> None:
        for name in files:
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best.hub / name, draft / name)
        (draft / "README.md").write_text(card, "utf-8")

    return write_folder(whole.hub, HUB, fill)


def seeds_card(whole: RunFolder, best: RunFolder, summary: Mapping[str, Any]) -> str:
    """The model card of the best seed, with mean, deviation and each seed's F1."""
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
