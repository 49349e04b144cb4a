"""A run's checkpoint -> a Hub folder, compared with PyTorch and ONNX Runtime on request."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.tags import LabelScheme
from flaxner.data.tokenizer import load_tokenizer
from flaxner.devices.environment import check_devices
from flaxner.evaluation.predictions import Predicted
from flaxner.files import check_folder
from flaxner.models.config_json import read_config
from flaxner.models.network import Model
from flaxner.publishing import verification as agreement
from flaxner.publishing.history import read_run_predictions, write_history
from flaxner.publishing.hub_folder import DTYPES, export_folder
from flaxner.publishing.model_card import model_card
from flaxner.publishing.onnx import PACKAGES, write_onnx, write_quantized
from flaxner.publishing.quantization import Quantized, measure
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.folder import HUB, RunFolder
from flaxner.runs.paths import refuse_runs
from flaxner.runs.steps import StepFolders

ONNX_WEIGHTS = ("float32", "int8")


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
        steps = StepFolders(run.checkpoints).steps()
        if not steps:
            raise ValueError(f"the run in {folder} has no checkpoint yet")
        return cls(
            run,
            Model.from_fields(fields),
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
          ValueError: no such checkpoint, or no device.
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


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
      folder: the Hub folder.
      step: the checkpoint it holds.
      difference: largest difference between torch's logits and ours, if compared.
      onnx_difference: the same of ONNX Runtime, if there is an ONNX file.
      compared_on: the sentences of both comparisons, in words.
      notes: what the folder lacks, or holds beside, one sentence each.
      scored: whether the model is the one that the run's scores are about.
    """

    folder: Path
    step: int
    difference: float | None = None
    onnx_difference: float | None = None
    compared_on: str = ""
    notes: tuple[str, ...] = ()
    scored: bool = False


def convert(
    run_dir: str | Path,
    *,
    output_dir: str | Path | None = None,
    step: int | None = None,
    verify: bool = False,
    onnx: bool | str = False,
    dtype: str = "float32",
    name: str | None = None,
    license: str | None = None,
    language: str | None = None,
    new_card: bool = False,
) -> Converted:
    """Checkpoint of a run -> Hub folder.

    Args:
      run_dir: the run's output folder.
      output_dir: where to; RUN_DIR/hub if None.
      step: which checkpoint; the best one if None, the newest if the run has not ended.
      verify: load the folder in torch and compare logits.
      onnx: write onnx/model.onnx, too, and compare its logits; "int8": also
        onnx/model_quantized.onnx, whose F1 the card tells.
      dtype: of the weights, float32 or bfloat16; the ONNX file is float32.
      name: USER/NAME, for the model card; the run's name if None.
      license: for the model card; the run's setting if None.
      language: for the model card, codes separated by commas; the run's setting if None.
      new_card: replace a model card that somebody edited; it is kept otherwise.

    Raises:
      ValueError: no run, no such checkpoint, an output folder where files that are not ours or
        were changed are in the way, absent
        packages, or logits that differ by more than `agreement.TOLERANCE`: then no folder is
        written.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}: got {dtype!r}")
    if onnx not in (False, True, *ONNX_WEIGHTS):
        raise ValueError(f"onnx must be one of {', '.join(ONNX_WEIGHTS)}: got {onnx!r}")
    if verify:
        agreement.require("--verify", ["torch"])
    if onnx:
        agreement.require("--onnx", PACKAGES)
    saved = SavedRun.open(run_dir)
    if step is None:
        step = saved.steps[-1] if saved.best_step is None else saved.best_step
    folder = Path(output_dir) if output_dir is not None else saved.run.hub
    refuse_runs(folder, own_hub=saved.run.hub)
    check_folder(folder, HUB)
    said = {"license": license, "language": language}
    config = TrainConfig(
        **load_settings(saved.run.config) | {k: v for k, v in said.items() if v is not None}
    )
    params = saved.params(step)
    # Scores belong to the best checkpoint alone: another one's card and history say none.
    results = saved.results() if step == saved.best_step else None
    predictions, notes = _predictions(saved.run)
    made, kept = Converted(folder, step), list(notes)

    def more(draft: Path) -> None:
        nonlocal made
        write_history(draft, saved.run, results)
        file = write_onnx(draft, saved.model.config.positions) if onnx else None
        if verify or onnx:
            sentences, where = _real_sentences(predictions)
            probe = agreement.Probe.of(saved.model, _rounded(params, dtype), draft, sentences)
            made = Converted(
                folder,
                step,
                probe.compare("PyTorch", agreement.in_torch(draft)) if verify else None,
                probe.compare("ONNX Runtime", agreement.in_onnx_runtime(file)) if file else None,
                where,
                notes,
            )
        if file is not None and onnx == "int8":
            cost = measure(
                (file, write_quantized(file)),
                predictions.get("validation", ()),
                saved.tokenizer,
                saved.scheme,
                config.max_length,
                scored=results is not None,
            )
            made = dataclasses.replace(made, notes=(*notes, str(cost)))
            (draft / "README.md").write_text(card(cost), "utf-8")

    def card(quantized: Quantized | None = None) -> str:
        return model_card(
            config,
            saved.scheme,
            saved.model.encoder,
            results or {"train": {}},
            predictions=predictions if results else {},
            name=name,
            onnx=bool(onnx),
            quantized=None if quantized is None else str(quantized),
        )

    export_folder(
        folder,
        saved.model,
        params,
        saved.scheme,
        saved.tokenizer,
        fields=saved.fields,
        card=card(),
        dtype=dtype,
        more=more,
        new_card=new_card,
        say=kept.append,
    )
    return dataclasses.replace(made, scored=results is not None, notes=tuple(kept))


def _predictions(run: RunFolder) -> tuple[dict[str, list[Predicted]], tuple[str, ...]]:
    """A run's predictions, or why there are none: earlier versions did not escape words."""
    try:
        return read_run_predictions(run), ()
    except ValueError as error:
        return {}, (f"the card has no confusion and no errors: {error}",)


def _rounded(params: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """What a file of that dtype holds of them, in float32."""
    return {k: value.astype(jnp.dtype(dtype)).astype(np.float32) for k, value in params.items()}


def _real_sentences(predictions: dict[str, list[Predicted]]) -> tuple[list[Any], str]:
    """Sentences to compare on, spread over the validation split, and what they are."""
    for split in ("validation", *predictions):
        found = predictions.get(split)
        if found:
            chosen = found[:: -(-len(found) // agreement.SENTENCES)]
            return [list(s.words) for s in chosen], f"{len(chosen)} sentences of {split}"
    return list(agreement.TEXTS), f"{len(agreement.TEXTS)} texts"
