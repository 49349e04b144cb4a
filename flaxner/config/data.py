"""The settings that say what of the corpora is used, and how the loss counts it."""

from __future__ import annotations

import dataclasses
import math

from flaxner.config.fields import setting

WEIGHTINGS = ("none", "balanced", "sqrt")
CONTEXTS = ("sentences", "document")
CONTEXT_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The part of `TrainConfig` that selects, divides and weighs what was read."""

    map_types: tuple[str, ...] = setting(
        (),
        "types to rename; several may become one: PER=person LOC=place",
        many="OLD=NEW",
    )
    drop_types: tuple[str, ...] = setting(
        (), "types to leave out: their entities become O", many="TYPE"
    )
    held_out: float = setting(
        0.0,
        "share of the training sentences held out for validation where no split is given; 0: none",
        low=0,
        high=0.9,
    )
    cross_validation: int = setting(
        0,
        "folds: train once a fold in OUTPUT_DIR/fold-I, validate on the fold, report mean and "
        "standard deviation; 0: no",
        low=0,
    )
    fold: int = setting(
        0, "train only this fold of --cross-validation, counted from 1; 0: all", low=0
    )
    train_fraction: float = setting(
        1.0, "share of the training sentences to train on", low=0, high=1, open=True
    )
    few_shot: int = setting(
        0,
        "train on a sample with K to 2K entities of every type (K~2K-shot as in Few-NERD); 0: all",
        low=0,
    )
    data_seed: int = setting(
        0, "of what is held out, folded and sampled, whatever --seed is", low=0
    )
    context: str = setting(
        "sentences",
        "what a word sees: its sentence, or windows of --max-length filled with the consecutive "
        "sentences of its document",
        choices=CONTEXTS,
    )
    context_share: float = setting(
        CONTEXT_SHARE,
        "with --context document: share of the sentences that an epoch shows alone, so that the "
        "model serves both",
        low=0,
        high=1,
    )
    label_tokens: str = setting(
        "first",
        "tokens of a word that the loss counts: first, or all (later ones as I-); words are "
        "always scored by their first token",
        choices=("first", "all"),
    )
    class_weights: tuple[str, ...] = setting(
        ("none",),
        "weights of the labels in the loss: none; balanced (inverse frequency); sqrt (its square "
        "root); or TYPE=WEIGHT of each type that has not 1: O=0.5 MISC=2",
        many="WEIGHTS",
    )

    @property
    def departures(self) -> dict[str, object]:
        """Those of these settings that are not at their default."""
        fields = [(field.name, field.default) for field in dataclasses.fields(DataSettings)]
        return {name: getattr(self, name) for name, plain in fields if getattr(self, name) != plain}

    @property
    def in_documents(self) -> bool:
        """Whether words see the sentences around theirs."""
        return self.context == "document"

    def check_data(self, validation_file: object) -> None:
        """Refuse settings that do not fit each other.

        Raises:
          ValueError: the two that do not, or one that is not of its form.
        """
        self._check_selection(validation_file)
        self._check_types()

    def _check_selection(self, validation_file: object) -> None:
        excluding = {
            "--held-out": self.held_out > 0,
            "--cross-validation": self.cross_validation > 0,
            "--validation-file": validation_file is not None,
        }
        chosen = [flag for flag, given in excluding.items() if given]
        if len(chosen) > 1:
            raise ValueError(f"{chosen[0]} and {chosen[1]} exclude each other")
        if self.cross_validation == 1:
            raise ValueError("cross_validation must be at least 2 folds, or 0 for none: got 1")
        if self.fold > self.cross_validation:
            folds = self.cross_validation
            raise ValueError(f"fold must be at most cross_validation: {self.fold} > {folds}")
        if self.few_shot and self.train_fraction < 1:
            raise ValueError("--few-shot and --train-fraction exclude each other")
        if self.few_shot and self.in_documents:
            raise ValueError(
                "--few-shot takes single sentences, which have no document around them: it and "
                "--context document exclude each other"
            )
        if self.context_share != CONTEXT_SHARE and not self.in_documents:
            raise ValueError(
                f"--context-share is for --context document: {self.context_share} was given"
            )

    def _check_types(self) -> None:
        renamed = renamings(self.map_types)
        for name in self.drop_types:
            if name in renamed:
                raise ValueError(f"the type {name!r} is both renamed and dropped")
        if self.class_weights not in {(name,) for name in WEIGHTINGS}:
            weights_of_types(self.class_weights)


def renamings(map_types: tuple[str, ...]) -> dict[str, str]:
    """OLD=NEW, ... -> {OLD: NEW}.

    Raises:
      ValueError: one that is not of this form, or a type that is renamed twice.
    """
    renamed: dict[str, str] = {}
    for pair in map_types:
        old, equals, new = pair.partition("=")
        if not (old and equals and new) or new.split() != [new]:
            raise ValueError(f"map_types must be OLD=NEW, such as PER=person: got {pair!r}")
        if new == "O":
            raise ValueError(f"map_types cannot make O of a type: use --drop-types {old}")
        if old in renamed:
            raise ValueError(f"map_types renames the type {old!r} twice")
        renamed[old] = new
    return renamed


def weights_of_types(class_weights: tuple[str, ...]) -> dict[str, float]:
    """TYPE=WEIGHT, ... -> {TYPE: weight}; O counts as a type.

    Raises:
      ValueError: one that is not of this form, a type given twice, or no positive number.
    """
    weights: dict[str, float] = {}
    for pair in class_weights:
        kind, equals, text = pair.rpartition("=")
        try:
            weight = float(text) if kind and equals else math.nan
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            known = ", ".join(WEIGHTINGS)
            raise ValueError(
                f"class_weights must be one of {known}, or TYPE=WEIGHT with weights above 0: "
                f"got {pair!r}"
            )
        if kind in weights:
            raise ValueError(f"class_weights has the type {kind!r} twice")
        weights[kind] = weight
    return weights
