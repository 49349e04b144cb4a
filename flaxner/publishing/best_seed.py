"""The best of several seeds as a Hub folder, with a card that reports the scores of all of them."""

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
    """Copy the model of one seed into hub/ of the multi-seed run, with a card about all seeds.

    Args:
      whole: folder of the multi-seed run.
      best: folder of the chosen seed's run, which has ended.
      summary: content of the multi-seed run's results.json.

    Returns:
      one sentence for each other thing that stays in hub/.

    Raises:
      ValueError: hub/ contains files that flaxner did not write and would have to replace.
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
