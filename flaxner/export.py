"""A trained model -> a folder that `transformers` (PyTorch) loads, without torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxner import weights as weights_lib
from flaxner.checkpoint import Checkpoints
from flaxner.labels import LabelScheme
from flaxner.models import Model
from flaxner.run_folder import RunFolder, write_folder, write_json

# What a Hub config.json may carry that describes another head, another file or another program.
STALE_FIELDS = (
    "_name_or_path",
    "architectures",
    "finetuning_task",
    "problem_type",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "gradient_checkpointing",
    "num_labels",
)


def hub_config(model: Model, scheme: LabelScheme, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a token classifier.

    Args:
      model: sizes and rates, which win over `fields`.
      scheme: label table.
      fields: config.json of the model that training began with, or nothing.
    """
    import transformers

    own = dataclasses.asdict(model.config)
    own.pop("num_labels")
    return {
        **{name: value for name, value in fields.items() if name not in STALE_FIELDS},
        **own,
        "architectures": ["BertForTokenClassification"],
        "model_type": "bert",
        "dtype": "float32",
        "id2label": {str(i): tag for i, tag in scheme.id2label.items()},
        "label2id": dict(scheme.label2id),
        "transformers_version": transformers.__version__,
    }


def save_model_files(folder: Path, tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Tokenizer files and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    write_json(folder / "config.json", config)


def export_folder(
    folder: str | Path,
    model: Model,
    params: Mapping[str, Any],
    scheme: LabelScheme,
    tokenizer: Any,
    *,
    fields: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> Path:
    """Write a Hub folder: config.json, model.safetensors, tokenizer files, README.md.

    The folder exists whole or not at all; an older one of that name is replaced.

    Args:
      folder: where to.
      model: static definition.
      params: path -> array.
      scheme: label table.
      tokenizer: of `transformers`.
      fields: config.json of the model that training began with.
      card: text of the model card, if any.
    """
    folder = Path(folder)
    tensors = weights_lib.to_hf({k: np.asarray(v) for k, v in params.items()}, model.rules)
    limit = min(getattr(tokenizer, "model_max_length", 512), model.config.max_position_embeddings)
    tokenizer.model_max_length = limit

    def fill(draft: Path) -> None:
        save_model_files(draft, tokenizer, hub_config(model, scheme, fields or {}))
        weights_lib.write_tensors(draft / weights_lib.SAFETENSORS, tensors)
        if card is not None:
            (draft / "README.md").write_text(card, "utf-8")

    write_folder(folder, fill)
    return folder


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
        from flaxner.alignment import load_tokenizer
        from flaxner.models import BertConfig, read_config

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


def convert_run(
    run_dir: str | Path, output_dir: str | Path | None = None, step: int | None = None
) -> tuple[Path, int]:
    """Checkpoint of a run -> Hub folder.

    Args:
      run_dir: the run's output folder.
      output_dir: where to; RUN_DIR/hub if None.
      step: which checkpoint; the best one if None, the newest if the run has not ended.

    Returns:
      the folder and the step.

    Raises:
      ValueError: no run, no such checkpoint, or an output folder that is something else.
    """
    saved = SavedRun.open(run_dir)
    step = step if step is not None else saved.best_step or saved.steps[-1]
    folder = Path(output_dir) if output_dir is not None else saved.run.hub
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is in use and holds no model: name another --output-dir")
    card = saved.run.hub / "README.md"
    text = card.read_text("utf-8") if card.is_file() else None
    export_folder(
        folder,
        saved.model,
        saved.params(step),
        saved.scheme,
        saved.tokenizer,
        fields=saved.fields,
        card=text,
    )
    return folder, step


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
    reference = AutoModelForTokenClassification.from_pretrained(str(folder)).eval()
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        theirs = reference(**inputs).logits.float().numpy()
    arrays = {name: tensor.numpy().astype(np.int32) for name, tensor in inputs.items()}
    mask = arrays["attention_mask"]
    positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    ours = jax.jit(model.apply)(params, arrays["input_ids"], mask, positions)
    return float(np.abs(theirs - np.asarray(ours))[mask == 1].max())


def read_label_scheme(fields: Mapping[str, Any], source: str) -> LabelScheme:
    """The label table of a config.json.

    Raises:
      ValueError: it has none.
    """
    if not fields.get("id2label"):
        raise ValueError(f"{source} has no id2label in its config.json: it is no token classifier")
    return LabelScheme.from_id2label(fields["id2label"])


def load_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text("utf-8"))
