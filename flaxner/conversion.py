"""A run's checkpoint -> a Hub folder, compared with PyTorch on request."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.alignment import load_tokenizer
from flaxner.checkpoint import Checkpoints
from flaxner.config import TrainConfig, load_settings
from flaxner.export import DTYPES, export_folder
from flaxner.history import read_run_predictions, write_history
from flaxner.labels import LabelScheme
from flaxner.model_card import model_card
from flaxner.models import BertConfig, Model, read_config
from flaxner.run_folder import RunFolder

TOLERANCE = 1e-4  # of --verify: float32 logits in torch against ours, of any model size
VERIFY_TEXTS = (
    "The headquarters of Google is located in Mountain View, California.",
    "Jordan beat Israel 2-1 on Tuesday.",
    "He said: \"We'll meet Ms. O'Neill at 10:30 in São Paulo's old town\".",
    "No names here",
)


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run folder, read back for conversion.

    Attributes:
      run: its paths.
      model: static definition.
      scheme: label table.
      tokenizer: of `transformers`.
      fields: the content of its model/config.json.
      steps: whole checkpoints, ascending.
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
          ValueError: it is no run, or has no checkpoint.
        """
        run = RunFolder(folder)
        if not (run.model / "config.json").is_file():
            raise ValueError(f"{folder} is no run folder: it has no model/config.json")
        fields = read_config(run.model)
        steps = []
        if run.checkpoints.is_dir():
            steps = Checkpoints(run.checkpoints, read_only=True).steps()
        if not steps:
            raise ValueError(f"the run in {folder} has no checkpoint yet")
        return cls(
            run,
            Model(BertConfig.from_hf(fields)),
            LabelScheme.from_id2label(fields["id2label"]),
            load_tokenizer(run.model),
            fields,
            steps,
            run.best_step(),
        )

    def results(self) -> dict[str, Any]:
        """The content of results.json, of a run that has ended."""
        return json.loads(self.run.results.read_text("utf-8"))

    def params(self, step: int) -> dict[str, np.ndarray]:
        """The parameters of a checkpoint as host arrays.

        Raises:
          ValueError: no such checkpoint.
        """
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
            for path, leaf in self.model.shapes.items()
        }
        checkpoints = Checkpoints(self.run.checkpoints, read_only=True)
        restored = checkpoints.restore_params(step, shapes)
        return {path: np.asarray(value) for path, value in restored.items()}


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
      folder: the Hub folder.
      step: the checkpoint it holds.
      difference: largest difference between torch's logits and ours, if compared.
    """

    folder: Path
    step: int
    difference: float | None = None


def convert(
    run_dir: str | Path,
    *,
    output_dir: str | Path | None = None,
    step: int | None = None,
    verify: bool = False,
    dtype: str = "float32",
    name: str | None = None,
) -> Converted:
    """Checkpoint of a run -> Hub folder.

    Args:
      run_dir: the run's output folder.
      output_dir: where to; RUN_DIR/hub if None.
      step: which checkpoint; the best one if None, the newest if the run has not ended.
      verify: load the folder in torch and compare logits.
      dtype: of the weights, float32 or bfloat16.
      name: USER/NAME, for the model card; the run's name if None.

    Raises:
      ValueError: no run, no such checkpoint, an output folder that is something else, or
        logits that differ by more than TOLERANCE.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}: got {dtype!r}")
    saved = SavedRun.open(run_dir)
    if step is None:
        step = saved.steps[-1] if saved.best_step is None else saved.best_step
    folder = Path(output_dir) if output_dir is not None else saved.run.hub
    vacant = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not vacant and not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is in use and holds no model: name another --output-dir")
    params = saved.params(step)
    # Scores belong to the best checkpoint alone: another one's card and history say none.
    results = saved.results() if step == saved.best_step else None
    card = model_card(
        TrainConfig(**load_settings(saved.run.config)),
        saved.scheme,
        results or {"train": {}},
        predictions=read_run_predictions(saved.run) if results else {},
        name=name,
    )
    export_folder(
        folder,
        saved.model,
        params,
        saved.scheme,
        saved.tokenizer,
        fields=saved.fields,
        card=card,
        dtype=dtype,
        more=lambda draft: write_history(draft, saved.run, results),
    )
    if not verify:
        return Converted(folder, step)
    rounded = {
        path: value.astype(jnp.dtype(dtype)).astype(np.float32) for path, value in params.items()
    }
    difference = verify_folder(folder, saved.model, rounded, VERIFY_TEXTS)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"torch's logits on {folder} differ from ours by {difference:.2e}, "
            f"more than {TOLERANCE:.0e}: do not use this folder"
        )
    return Converted(folder, step, difference)


def verify_folder(
    folder: str | Path, model: Model, params: Mapping[str, Any], texts: Sequence[str]
) -> float:
    """Largest difference between torch's logits on a Hub folder and ours, float32.

    Args:
      folder: the Hub folder, read by `transformers` with torch.
      model: our static definition.
      params: our parameters, as checkpointed.
      texts: sentences to compare on.

    Returns:
      max absolute difference over all real tokens.

    Raises:
      ValueError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError("--verify compares with PyTorch: pip install torch") from error
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    reference = AutoModelForTokenClassification.from_pretrained(str(folder), dtype=torch.float32)
    reference.eval()
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        theirs = reference(**inputs).logits.float().numpy()
    arrays = {name: tensor.numpy().astype(np.int32) for name, tensor in inputs.items()}
    mask = arrays["attention_mask"]
    positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    ours = jax.jit(model.apply)(params, arrays["input_ids"], mask, positions)
    return float(np.abs(theirs - np.asarray(ours))[mask == 1].max())
