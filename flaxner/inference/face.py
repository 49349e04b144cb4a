"""What programs written for `transformers`' pipelines use besides the answers."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.inference.engines import Request
    from flaxner.inference.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class Device:
    """A device, with torch's names.

    Attributes:
      type: "cpu", "cuda", "rocm" or "tpu".
      index: its number; None for the CPU.
    """

    type: str
    index: int | None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    @classmethod
    def of(cls, device: Any) -> Device:
        """Convert a JAX device, or another engine's with the same attributes."""
        kind = {"gpu": "cuda"}.get(device.platform, device.platform)
        return cls(kind, None if kind == "cpu" else device.id)


class ServedModel:
    """The attributes of `pipe.model` that programs read; it is not the network itself.

    Attributes:
      config: a config of `transformers`, with the pipeline's labels.
      dtype: dtype of the computation.
      device: the first device in use.
    """

    def __init__(self, config: Any, dtype: np.dtype, device: Device) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.num_labels = config.num_labels
        self.name_or_path = config.name_or_path

    def eval(self) -> ServedModel:
        """Return itself: it is never in training mode."""
        return self


class TransformersFace:
    """The attributes and methods of `transformers`' Pipeline; mixed into `NerPipeline`."""

    task: str
    labels: tuple[str, ...]
    predictor: Predictor
    _source: Request | None

    @property
    def classifier(self) -> Classifier | None:
        """The model itself."""
        raise NotImplementedError

    @functools.cached_property
    def model(self) -> ServedModel:
        """The model's config, dtype and device, with torch's names."""
        labels = dict(enumerate(self.labels))
        fields: dict[str, Any] = {"id2label": labels}
        if self.classifier is not None:
            from flaxner.inference.saving import config_fields

            fields = config_fields(self.classifier)
        from flaxner.models.transformers_config import transformers_config

        return ServedModel(transformers_config(fields), self.dtype, self.device)

    @property
    def device(self) -> Device:
        """The first device in use."""
        return Device.of(self.predictor.devices[0])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the computation; float32 for exported programs and on ONNX Runtime."""
        if self._source is not None or self.classifier is None:
            return np.dtype("float32")
        import jax

        return jax.numpy.dtype(self.classifier.model.compute.dtype)

    @property
    def torch_dtype(self) -> np.dtype:
        """The older name of `dtype`."""
        return self.dtype

    def transform(self, X: Any) -> Any:
        """Call the pipeline, under scikit-learn's name."""
        return self(X)  # type: ignore[operator]

    def predict(self, X: Any) -> Any:
        """Call the pipeline, under scikit-learn's name."""
        return self(X)  # type: ignore[operator]

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write a folder with this model and its labels that `transformers` and `pipeline` load.

        Raises:
          ValueError: the folder is in use, or the pipeline is an export.
        """
        from flaxner.inference.saving import save_classifier

        if self.classifier is None:
            raise ValueError(
                "an exported pipeline cannot be saved for transformers: use the model it came from"
            )
        save_classifier(Path(save_directory), self.classifier)

    def push_to_hub(
        self, repo_id: str, *, private: bool = False, revision: str | None = None
    ) -> str:
        """Upload the files of `save_pretrained` in one commit, and return its URL.

        Args:
          repo_id: USER/NAME.
          private: make the repository private.
          revision: branch, created if necessary; main if None.

        Raises:
          ValueError: see `save_pretrained` and `flaxner.push_to_hub`.
        """
        import flaxner

        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            self.save_pretrained(folder)
            return flaxner.push_to_hub(
                folder, repo_id, private=private, revision=revision, force=True
            )
