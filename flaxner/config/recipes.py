"""The settings that say how a model learns: its loss, its rates, its dropout, its weights."""

from __future__ import annotations

import dataclasses

from flaxner.config.fields import setting

CRF = "crf"  # the decoder of that name


@dataclasses.dataclass(frozen=True)
class RecipeSettings:
    """The part of `TrainConfig` that published recipes differ in; each is one line to turn on."""

    decoder: str = setting(
        "softmax",
        "how labels are learnt and read: each word's on its own, or a sentence's together by a "
        "linear-chain CRF over words",
        choices=("softmax", CRF),
    )
    crf_learning_rate: float = setting(
        1e-2, "peak of the learning rate of the CRF's transitions, starts and ends", low=0
    )
    crf_head_share: float = setting(
        0.5,
        "share of the CRF's loss that is each word's own cross-entropy, so that torch, which knows "
        "no CRF, reads the model well, too; 0: the CRF alone",
        low=0,
        high=0.99,
    )
    schedule: str = setting(
        "linear",
        "of the learning rate after the warm-up: linear or cosine to 0, or constant (no gain "
        "where cosine was tried)",
        choices=("linear", "cosine", "constant"),
    )
    head_learning_rate: float | None = setting(
        None,
        "peak of the rate of the layers after the encoder; unset: learning_rate",
        low=0,
    )
    layer_decay: float = setting(
        1.0,
        "factor on the learning rate of each layer for every layer above it; 1: all alike (no "
        "gain where it was tried)",
        low=0,
        high=1,
        open=True,
    )
    dropout: float | None = setting(
        None,
        "of embeddings and hidden states in training; unset: the model's own (no gain where tried)",
        low=0,
        high=0.9,
    )
    attention_dropout: float | None = setting(
        None, "of attention; unset: the model's own (no gain where tried)", low=0, high=0.9
    )
    head_dropout: float | None = setting(
        None, "before the classifier; unset: the model's own (no gain where tried)", low=0, high=0.9
    )
    label_smoothing: float = setting(
        0.0, "share of the loss that all labels have alike", low=0, high=0.9
    )

    ema: float = setting(
        0.0,
        "publish a running mean of the weights, of which a step leaves this share, 0.999 say; "
        "0: the weights themselves (no gain where tried)",
        low=0,
        high=0.999999,
    )
    average_last: int = setting(
        0,
        "publish the mean of the weights at the last evaluations, so many; 0: the weights "
        "themselves (no gain where tried)",
        low=0,
        high=20,
    )
    early_stopping: int = setting(
        0,
        "end when so many evaluations have brought no better validation F1; 0: never",
        low=0,
    )

    @property
    def recipe(self) -> dict[str, object]:
        """Those of these settings that are not at their default, and the CRF's with it."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(RecipeSettings)
            if getattr(self, field.name) != field.default
            or (field.name.startswith("crf_") and self.decoder == CRF)
        }

    def check_recipe(self, label_tokens: str, class_weights: tuple[str, ...]) -> None:
        """Refuse settings that do not fit each other.

        Raises:
          ValueError: the two that do not, and why.
        """
        if self.ema and self.average_last:
            raise ValueError("--ema and --average-last exclude each other: set one of them")
        if self.decoder != CRF:
            for name in [name for name in self.recipe if name.startswith("crf_")]:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} is of --decoder crf alone: the decoder is {self.decoder}")
            return
        other = {
            "--label-tokens all": label_tokens == "all",
            "--class-weights": class_weights != ("none",),
            "--label-smoothing": self.label_smoothing > 0,
        }
        for flag, given in other.items():
            if given:
                raise ValueError(
                    f"--decoder crf and {flag} exclude each other: a CRF is over words, each of "
                    "which has one label, and its loss is that of a whole sentence"
                )
