"""A run's checkpoint -> a Hub folder; compared with PyTorch and ONNX Runtime on request."""

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
from flaxner.publishing import verification
from flaxner.publishing.history import read_run_predictions, write_history
from flaxner.publishing.hub_folder import DTYPES, export_folder
from flaxner.publishing.model_card import arithmetic, model_card
from flaxner.publishing.onnx import PACKAGES, write_onnx, write_quantized
from flaxner.publishing.quantization import Quantized, measure
from flaxner.publishing.saved_run import SavedRun
from flaxner.runs.folder import RunFolder
from flaxner.runs.kinds import HUB
from flaxner.runs.paths import refuse_runs
from flaxner.wording import number_of

ONNX_WEIGHTS = ("float32", "int8")


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
      folder: the Hub folder.
      step: step of the checkpoint that it holds.
      difference: largest difference between torch's logits and ours, if compared.
      onnx_difference: the same for ONNX Runtime, if there is an ONNX file.
      compared_on: description of the sentences that both comparisons used.
      notes: what the folder lacks or additionally holds, one sentence each.
      scored: whether the run's scores describe this model.
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
    """Convert a checkpoint of a run to a Hub folder.

    Args:
      run_dir: the run's output folder.
      output_dir: folder to write; RUN_DIR/hub if None.
      step: step of the checkpoint; if None, the best one, or the newest if the run has not ended.
      verify: load the folder in torch and compare logits.
      onnx: also write onnx/model.onnx and compare its logits; "int8" additionally writes
        onnx/model_quantized.onnx, and the card reports its F1.
      dtype: dtype of the weights, float32 or bfloat16; the ONNX file is float32.
      name: USER/NAME, for the model card; the run's name if None.
      license: licence for the model card; the run's setting if None.
      language: language codes for the model card, separated by commas; the run's setting if None.
      new_card: replace a model card that somebody edited; it is kept otherwise.

    Raises:
      ValueError: `run_dir` is not a run; there is no such checkpoint; files in the output folder
        that flaxner did not write, or that were changed, are in the way; packages are missing; or
        logits differ by more than `verification.TOLERANCE`. No folder is written then.
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
    # The scores describe the best checkpoint only: card and history of any other have none.
    results = saved.run.finished() if step == saved.best_step else None
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
    """Refuse what cannot be done here, before anything is read."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}: got {dtype!r}")
    if onnx not in (False, True, *ONNX_WEIGHTS):
        raise ValueError(f"onnx must be one of {', '.join(ONNX_WEIGHTS)}: got {onnx!r}")
    if verify:
        verification.require("--verify", ["torch"])
    if onnx:
        verification.require("--onnx", PACKAGES)


@dataclasses.dataclass
class Extras:
    """What a converted folder holds besides the model, and the results of the comparisons.

    Attributes:
      saved: the run.
      config: settings of the run, with the requested licence and language.
      params: path -> array, float32.
      dtype: dtype of the weights in the folder.
      results: content of results.json, if it describes this model.
      predictions: split -> sentences that the run has scored.
      verify: whether to compare with PyTorch.
      onnx: False, True or one of ONNX_WEIGHTS.
      name: USER/NAME, for the card.
      notes: sentences to show to the user; `write` adds to them.
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
        """Write history and ONNX files into a folder that holds the model, and compare logits.

        Raises:
          ValueError: logits differ by more than `verification.TOLERANCE`.
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
                scored=self._scored_like_a_graph(),
            )
            self.notes.append(str(cost))
            (draft / "README.md").write_text(self.card(cost), "utf-8")

    def _scored_like_a_graph(self) -> bool:
        """Whether the run scored as ONNX graphs do: single sentences, in float32, without CRF."""
        if self.results is None or self.config.in_documents or self.saved.model.crf:
            return False
        return arithmetic(self.results) == "float32"

    def _compare(self, draft: Path, file: Path | None) -> None:
        sentences, self.compared_on = _real_sentences(self.predictions)
        params = _rounded(self.params, self.dtype)
        probe = verification.Probe.of(self.saved.model, params, draft, sentences)
        if self.verify:
            self.difference = probe.compare("PyTorch", verification.in_torch(draft))
            if self.saved.model.crf:
                verification.same_scores(draft, self.params)
        if file is not None:
            answer = verification.in_onnx_runtime(file)
            self.onnx_difference = probe.compare("ONNX Runtime", answer)

    def card(self, quantized: Quantized | None = None) -> str:
        """Return the model card, including the cost of int8 if known."""
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
    """Return a run's predictions, or why they are unreadable: old versions did not escape words."""
    try:
        return read_run_predictions(run), []
    except ValueError as error:
        return {}, [f"the card has no confusion table and no errors: {error}"]


def _rounded(params: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Return the parameters as a file of that dtype holds them, in float32."""
    return {k: value.astype(jnp.dtype(dtype)).astype(np.float32) for k, value in params.items()}


def _real_sentences(predictions: dict[str, list[Predicted]]) -> tuple[list[Any], str]:
    """Return sentences to compare on, spread over the validation split, and their description."""
    for split in ("validation", *predictions):
        sentences = predictions.get(split)
        if sentences:
            chosen = sentences[:: -(-len(sentences) // verification.SENTENCES)]
            what = number_of(len(chosen), "sentences")
            return [list(s.words) for s in chosen], f"{what} of {split}"
    return list(verification.TEXTS), f"{len(verification.TEXTS)} texts"
