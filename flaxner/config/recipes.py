"""The settings that decide how a model learns: loss, learning rates, dropout, weight averaging."""

from __future__ import annotations

import dataclasses

from flaxner.config.fields import setting

CRF = "crf"  # the name of the decoder


@dataclasses.dataclass(frozen=True)
class RecipeSettings:
    """The part of `TrainConfig` in which published recipes differ; each is enabled by one line."""

    decoder: str = setting(
        "softmax",
        "how labels are learnt and decoded: for each word on its own, or for the whole sentence "
        "with a linear-chain CRF over its words",
        choices=("softmax", CRF),
    )
    crf_learning_rate: float = setting(
        1e-2, "peak learning rate for the CRF's transition, start and end scores", low=0
    )
    crf_head_share: float = setting(
        0.5,
        "fraction of the CRF's loss that is per-word cross-entropy, so that the model also works "
        "well in PyTorch, which ignores the CRF; 0 uses the CRF loss alone",
        low=0,
        high=0.99,
    )
    schedule: str = setting(
        "linear",
        "learning rate schedule after the warm-up: linear or cosine decay to 0, or constant "
        "(cosine gave no gain where tried)",
        choices=("linear", "cosine", "constant"),
    )
    head_learning_rate: float | None = setting(
        None,
        "peak learning rate for the layers on top of the encoder (default: --learning-rate)",
        low=0,
    )
    layer_decay: float = setting(
        1.0,
        "layer-wise learning rate decay: multiply a layer's rate by this factor once for each "
        "layer above it; 1 disables (no gain where tried)",
        low=0,
        high=1,
        open=True,
    )
    dropout: float | None = setting(
        None,
        "dropout on embeddings and hidden states (no gain where tried; default: the model's own)",
        low=0,
        high=0.9,
    )
    attention_dropout: float | None = setting(
        None,
        "dropout on attention weights (no gain where tried; default: the model's own)",
        low=0,
        high=0.9,
    )
    head_dropout: float | None = setting(
        None,
        "dropout before the classifier (no gain where tried; default: the model's own)",
        low=0,
        high=0.9,
    )
    label_smoothing: float = setting(
        0.0,
        "label smoothing: fraction of the target probability spread evenly over all labels",
        low=0,
        high=0.9,
    )

    ema: float = setting(
        0.0,
        "publish an exponential moving average of the weights with this decay, such as 0.999; "
        "0 disables (no gain where tried)",
        low=0,
        high=0.999999,
    )
    average_last: int = setting(
        0,
        "publish the mean of the weights at the last N evaluations; 0 disables (no gain where "
        "tried)",
        low=0,
        high=20,
    )
    early_stopping: int = setting(
        0,
        "stop after N evaluations without a better validation F1; 0 disables",
        low=0,
    )

    @property
    def recipe(self) -> dict[str, object]:
        """The settings of this class that differ from their defaults; with a CRF, all of its."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(RecipeSettings)
            if getattr(self, field.name) != field.default
            or (field.name.startswith("crf_") and self.decoder == CRF)
        }

    def check_recipe(self, label_tokens: str, class_weights: tuple[str, ...]) -> None:
        """Reject settings that contradict each other.

        Raises:
          ValueError: two settings conflict; the message says why.
        """
        if self.ema and self.average_last:
            raise ValueError("--ema and --average-last are mutually exclusive: set one of them")
        if self.decoder != CRF:
            for name in [name for name in self.recipe if name.startswith("crf_")]:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} requires --decoder crf: the decoder is {self.decoder}")
            return
        other = {
            "--label-tokens all": label_tokens == "all",
            "--class-weights": class_weights != ("none",),
            "--label-smoothing": self.label_smoothing > 0,
        }
        for flag, given in other.items():
            if given:
                raise ValueError(
                    f"--decoder crf and {flag} are mutually exclusive: a CRF works on words, each "
                    "with one label, and its loss is that of a whole sentence"
                )
