"""A run's checkpoint -> a Hub folder, compared with PyTorch and ONNX Runtime on request."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.evaluation.predictions import Predicted
from flaxner.files import check_folder
from flaxner.publishing import verification as agreement
from flaxner.publishing.history import read_run_predictions, write_history
from flaxner.publishing.hub_folder import DTYPES, export_folder
from flaxner.publishing.model_card import model_card
from flaxner.publishing.onnx import PACKAGES, write_onnx, write_quantized
from flaxner.publishing.quantization import Quantized, measure
from flaxner.publishing.saved_run import SavedRun
from flaxner.runs.folder import RunFolder
from flaxner.runs.kinds import HUB
from flaxner.runs.paths import refuse_runs

ONNX_WEIGHTS = ("float32", "int8")


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
    _check(dtype, verify, onnx)
    saved = SavedRun.open(run_dir)
    if step is None:
        step = saved.steps[-1] if saved.best_step is None else saved.best_step
    folder = Path(output_dir) if output_dir is not None else saved.run.hub
    refuse_runs(folder, own_hub=saved.run.hub)
    check_folder(folder, HUB)
    changed = {"license": license, "language": language}
    config = TrainConfig(
        **load_settings(saved.run.config) | {k: v for k, v in changed.items() if v is not None}
    )
    params = saved.params(step)
    # Scores belong to the best checkpoint alone: another one's card and history say none.
    results = saved.results() if step == saved.best_step else None
    predictions, notes = _predictions(saved.run)
    extras = Extras(saved, config, params, dtype, results, predictions, verify, onnx, name, notes)
    export_folder(
        folder,
        saved.model,
        params,
        saved.scheme,
        saved.tokenizer,
        fields=saved.fields,
        temperature=(results or {}).get("calibration", {}).get("temperature"),
        card=extras.card(),
        dtype=dtype,
        more=extras.write,
        new_card=new_card,
        say=notes.append,
    )
    return Converted(
        folder,
        step,
        extras.difference,
        extras.onnx_difference,
        extras.compared_on,
        tuple(notes),
        scored=results is not None,
    )


def _check(dtype: str, verify: bool, onnx: bool | str) -> None:
    """Refuse what cannot be done here before anything is read."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}: got {dtype!r}")
    if onnx not in (False, True, *ONNX_WEIGHTS):
        raise ValueError(f"onnx must be one of {', '.join(ONNX_WEIGHTS)}: got {onnx!r}")
    if verify:
        agreement.require("--verify", ["torch"])
    if onnx:
        agreement.require("--onnx", PACKAGES)


@dataclasses.dataclass
class Extras:
    """What a converted folder has beside the model, and what comparing the two has shown.

    Attributes:
      saved: the run.
      config: its settings, licence and language as asked for.
      params: path -> array, float32.
      dtype: of the weights in the folder.
      results: the content of results.json, if the model is the one it is about.
      predictions: split -> sentences that the run has scored.
      verify: compare with PyTorch.
      onnx: False, True or one of ONNX_WEIGHTS.
      name: USER/NAME, for the card.
      notes: told to the user; `write` adds to them.
      difference, onnx_difference, compared_on: as in `Converted`; set by `write`.
    """

    saved: SavedRun
    config: TrainConfig
    params: dict[str, np.ndarray]
    dtype: str
    results: dict[str, Any] | None
    predictions: dict[str, list[Predicted]]
    verify: bool
    onnx: bool | str
    name: str | None
    notes: list[str]
    difference: float | None = None
    onnx_difference: float | None = None
    compared_on: str = ""

    def write(self, draft: Path) -> None:
        """History, ONNX files and comparisons, in a folder that holds the model.

        Raises:
          ValueError: logits that differ by more than `agreement.TOLERANCE`.
        """
        write_history(draft, self.saved.run, self.results)
        file = write_onnx(draft, self.saved.model.config.positions) if self.onnx else None
        if self.verify or file is not None:
            self._compare(draft, file)
        if file is not None and self.onnx == "int8":
            cost = measure(
                (file, write_quantized(file)),
                self.predictions.get("validation", ()),
                self.saved.tokenizer,
                self.saved.scheme,
                self.config.max_length,
                # Both graphs read sentences alone, which a model of documents was not scored on.
                scored=self.results is not None
                and not (self.config.in_documents or self.saved.model.crf),
            )
            self.notes.append(str(cost))
            (draft / "README.md").write_text(self.card(cost), "utf-8")

    def _compare(self, draft: Path, file: Path | None) -> None:
        sentences, self.compared_on = _real_sentences(self.predictions)
        params = _rounded(self.params, self.dtype)
        probe = agreement.Probe.of(self.saved.model, params, draft, sentences)
        if self.verify:
            self.difference = probe.compare("PyTorch", agreement.in_torch(draft))
            if self.saved.model.crf:
                agreement.same_scores(draft, self.params)
        if file is not None:
            answer = agreement.in_onnx_runtime(file)
            self.onnx_difference = probe.compare("ONNX Runtime", answer)

    def card(self, quantized: Quantized | None = None) -> str:
        """The model card, with what int8 costs if that is known."""
        return model_card(
            self.config,
            self.saved.scheme,
            self.saved.model.encoder,
            self.results or {"train": {}},
            predictions=self.predictions if self.results else {},
            name=self.name,
            dtype=self.dtype,
            onnx=bool(self.onnx),
            quantized=None if quantized is None else str(quantized),
        )


def _predictions(run: RunFolder) -> tuple[dict[str, list[Predicted]], list[str]]:
    """A run's predictions, or why there are none: earlier versions did not escape words."""
    try:
        return read_run_predictions(run), []
    except ValueError as error:
        return {}, [f"the card has no confusion and no errors: {error}"]


def _rounded(params: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """What a file of that dtype holds of them, in float32."""
    return {k: value.astype(jnp.dtype(dtype)).astype(np.float32) for k, value in params.items()}


def _real_sentences(predictions: dict[str, list[Predicted]]) -> tuple[list[Any], str]:
    """Sentences to compare on, spread over the validation split, and what they are."""
    for split in ("validation", *predictions):
        sentences = predictions.get(split)
        if sentences:
            chosen = sentences[:: -(-len(sentences) // agreement.SENTENCES)]
            return [list(s.words) for s in chosen], f"{len(chosen)} sentences of {split}"
    return list(agreement.TEXTS), f"{len(agreement.TEXTS)} texts"
