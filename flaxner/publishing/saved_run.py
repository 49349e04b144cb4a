"""Read a run folder back for conversion."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxner.data.labels import LabelScheme
from flaxner.data.tokenizer import load_tokenizer
from flaxner.devices.environment import check_devices
from flaxner.models.config_json import read_config
from flaxner.models.network import Model
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.folder import RunFolder
from flaxner.runs.replacing import refuse_half_moved
from flaxner.runs.steps import StepFolders


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run folder, read back for conversion.

    Attributes:
      run: paths of the run.
      model: static definition.
      scheme: label table.
      tokenizer: a `transformers` tokenizer.
      fields: content of the run's model/config.json.
      steps: steps of the complete checkpoints, ascending.
      best_step: step of the best evaluation, or None if the run has not ended.
    """

    run: RunFolder
    model: Model
    scheme: LabelScheme
    tokenizer: Any
    fields: dict[str, Any]
    steps: list[int]
    best_step: int | None

    @classmethod
    def open(cls, folder: str | Path) -> SavedRun:
        """Read a run folder.

        Raises:
          ValueError: the folder is not a run, or has no checkpoint.
        """
        run = RunFolder(folder)
        refuse_half_moved(run.path)
        members = run.members()
        if members:
            best = (run.finished() or {}).get("best_seed")
            named = members[0] if best is None else run.path / f"seed-{best}"
            raise ValueError(f"{folder} holds {len(members)} runs: name one, such as {named}")
        if not (run.model / "config.json").is_file():
            around = RunFolder(run.path.parent)
            mistaken = run.path == around.hub and (around.model / "config.json").is_file()
            raise ValueError(
                f"{folder} is not a run folder: it has no model/config.json"
                + (f"; did you mean {around.path}?" if mistaken else "")
            )
        fields = read_config(run.model)
        steps = StepFolders(run.checkpoints).steps()
        if not steps:
            if run.finished() is None:
                raise ValueError(f"the run in {folder} has no checkpoint yet")
            raise ValueError(
                f"the run in {folder} has no checkpoints any more: they were deleted, as a sweep "
                "does for all trials but the best"
            )
        return cls(
            run,
            Model.from_fields(fields),
            LabelScheme.from_id2label(fields["id2label"]),
            load_tokenizer(run.model),
            fields,
            steps,
            run.best_step(),
        )

    def params(self, step: int) -> dict[str, np.ndarray]:
        """Return the parameters of a checkpoint as host arrays.

        Raises:
          ValueError: there is no such checkpoint, or no device.
        """
        check_devices()
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
            for path, leaf in self.model.shapes.items()
        }
        checkpoints = Checkpoints(self.run.checkpoints, read_only=True)
        restored = checkpoints.restore_params(step, shapes)
        return {path: np.asarray(value) for path, value in restored.items()}
