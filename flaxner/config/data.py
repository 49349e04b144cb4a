"""The settings that decide which parts of the corpora are used and how the loss weighs them."""

from __future__ import annotations

import dataclasses
import math

from flaxner.config.fields import setting

WEIGHTINGS = ("none", "balanced", "sqrt")
CONTEXTS = ("sentences", "document")
CONTEXT_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The part of `TrainConfig` that selects, splits and weighs the sentences read."""

    map_types: tuple[str, ...] = setting(
        (),
        "entity types to rename: PER=person LOC=place; several may be merged into one",
        many="OLD=NEW",
    )
    drop_types: tuple[str, ...] = setting(
        (), "entity types to drop: their entities become O", many="TYPE"
    )
    held_out: float = setting(
        0.0,
        "fraction of the training sentences to hold out for validation if there is no validation "
        "split; 0 disables",
        low=0,
        high=0.9,
    )
    cross_validation: int = setting(
        0,
        "number of folds: train one model per fold (in OUTPUT_DIR/fold-I), validate it on that "
        "fold, and report the mean and standard deviation; 0 disables",
        low=0,
    )
    fold: int = setting(
        0, "train only this fold of --cross-validation, counting from 1; 0: all folds", low=0
    )
    train_fraction: float = setting(
        1.0, "fraction of the training sentences to train on", low=0, high=1, open=True
    )
    few_shot: int = setting(
        0,
        "train on a sample with K to 2K entities of each type (K~2K-shot, as in Few-NERD); "
        "0 uses all sentences",
        low=0,
    )
    data_seed: int = setting(
        0, "seed for held-out splits, folds and samples; independent of --seed", low=0
    )
    context: str = setting(
        "sentences",
        "context of a word: its own sentence, or a window of up to --max-length tokens filled with "
        "consecutive sentences of its document",
        choices=CONTEXTS,
    )
    context_share: float = setting(
        CONTEXT_SHARE,
        "with --context document: fraction of the sentences shown on their own in each epoch, so "
        "that the model also works on single sentences",
        low=0,
        high=1,
    )
    label_tokens: str = setting(
        "first",
        "tokens of each word that count towards the loss: the first, or all (later ones labelled "
        "I-); words are always scored by their first token",
        choices=("first", "all"),
    )
    class_weights: tuple[str, ...] = setting(
        ("none",),
        "label weights in the loss: none; balanced (inverse frequency); sqrt (its square root); or "
        "TYPE=WEIGHT for each type whose weight is not 1: O=0.5 MISC=2",
        many="WEIGHTS",
    )

    @property
    def departures(self) -> dict[str, object]:
        """The settings of this class that differ from their defaults."""
        fields = [(field.name, field.default) for field in dataclasses.fields(DataSettings)]
        return {name: getattr(self, name) for name, plain in fields if getattr(self, name) != plain}

    @property
    def in_documents(self) -> bool:
        """Whether words see the sentences around their own."""
        return self.context == "document"

    def check_data(self, validation_file: object) -> None:
        """Reject settings that contradict each other.

        Raises:
          ValueError: two settings conflict, or one is malformed.
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
            raise ValueError(f"{chosen[0]} and {chosen[1]} are mutually exclusive")
        if self.cross_validation == 1:
            raise ValueError("cross_validation must be at least 2 folds, or 0 for none: got 1")
        if self.fold > self.cross_validation:
            folds = self.cross_validation
            raise ValueError(f"fold must be at most cross_validation: {self.fold} > {folds}")
        if self.few_shot and self.train_fraction < 1:
            raise ValueError("--few-shot and --train-fraction are mutually exclusive")
        if self.few_shot and self.in_documents:
            raise ValueError(
                "--few-shot and --context document are mutually exclusive: a few-shot sample "
                "consists of single sentences, without the documents around them"
            )
        if self.context_share != CONTEXT_SHARE and not self.in_documents:
            raise ValueError(
                f"--context-share requires --context document: got {self.context_share}"
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
      ValueError: an item is malformed, or a type is renamed twice.
    """
    renamed: dict[str, str] = {}
    for pair in map_types:
        old, equals, new = pair.partition("=")
        if not (old and equals and new) or new.split() != [new]:
            raise ValueError(f"map_types must be OLD=NEW, such as PER=person: got {pair!r}")
        if new == "O":
            raise ValueError(f"map_types cannot rename a type to O: use --drop-types {old}")
        if old in renamed:
            raise ValueError(f"map_types renames the type {old!r} twice")
        renamed[old] = new
    return renamed


def weights_of_types(class_weights: tuple[str, ...]) -> dict[str, float]:
    """TYPE=WEIGHT, ... -> {TYPE: weight}; O counts as a type.

    Raises:
      ValueError: an item is malformed, a type is given twice, or a weight is not positive.
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
            raise ValueError(f"class_weights lists the type {kind!r} twice")
        weights[kind] = weight
    return weights
