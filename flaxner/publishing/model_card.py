"""The model card of a run: what it is, how well it does, how it was made, how to use it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from flaxner import templates
from flaxner.config.fields import each
from flaxner.config.train import TrainConfig
from flaxner.data.labels import LabelScheme
from flaxner.data.tags import tags_to_spans
from flaxner.evaluation.mistakes import (
    BOUNDARY,
    SPURIOUS,
    confusion,
    confusion_table,
    examples,
)
from flaxner.evaluation.predictions import Predicted
from flaxner.models.layers.encoder import Encoder
from flaxner.publishing.card_metadata import card_metadata

SCORED_SPLITS = ("validation", "test")
SHOWN_ERRORS = 5
WIDGETS = 3
VERSIONS = ("flaxner", "jax", "flax", "optax", "transformers")


def model_card(
    config: TrainConfig,
    scheme: LabelScheme,
    encoder: Encoder,
    results: Mapping[str, Any],
    *,
    predictions: Mapping[str, Sequence[Predicted]] | None = None,
    name: str | None = None,
    dtype: str = "float32",
    onnx: bool = False,
    quantized: str | None = None,
    seeds: Mapping[str, Any] | None = None,
) -> str:
    """README.md of a Hub folder.

    Args:
      config: settings of the run, licence and language among them.
      scheme: label table.
      encoder: the model's family.
      results: the content of results.json; without splits for a model that was not scored.
      predictions: split -> sentences, for confusion, errors and widget examples.
      name: USER/NAME; the output folder's name if None.
      dtype: of the weights in the folder; the scores are those of float32.
      onnx: the folder has an ONNX file.
      quantized: what int8 costs, if the folder has a quantised ONNX file.
      seeds: results.json of the run with several seeds of which this is the best.
    """
    predictions = predictions or {}
    name = name or Path(config.output_dir).name
    scored = {split: results[split] for split in SCORED_SPLITS if split in results}
    corpora = _corpora(config, "train")
    measured = {split: _measured(config, split) for split in scored}
    head = card_metadata(
        model_type=encoder.config.model_type,
        model_name=name.split("/")[-1],
        base_model=_hub_name(config.model),
        datasets=[name for name in map(_hub_name, each(config.dataset)) if name],
        scores=scored,
        measured={s: (on.hub, on.configuration, str(on)) for s, on in measured.items()},
        widget=_widget(predictions.get("validation", ())),
        license=config.license,
        language=config.language.split(",") if config.language else (),
        tags=("onnx",) if onnx else (),
    )
    last, *_ = [*reversed(scored), None]
    judged, *_ = [*(split for split in reversed(scored) if predictions.get(split)), None]
    return templates.markdown(
        "model_card.md.jinja",
        head=head,
        name=name,
        encoder=encoder,
        title=name.split("/")[-1],
        types=scheme.types,
        base=_shown(config.model),
        corpora=corpora,
        headline=last and {"split": last, "f1": scored[last]["overall_f1"]},
        dtype=dtype,
        onnx=onnx,
        quantized=quantized,
        seeds=seeds and _over_seeds(seeds, list(scored)),
        scored=scored,
        measured=measured,
        mistakes=judged and _mistakes(judged, predictions[judged]),
        settings=_settings(config, results["train"]),
        versions=[f"{package} {version}" for package, version in versions().items()],
        files=bool(config.train_file),
        max_length=config.max_length,
        in_documents=config.in_documents,
    )


def has_scores(card: str) -> bool:
    """Whether a card says how well its model does, to the Hub."""
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    return head is not None and "\nmodel-index:" in f"\n{head[1]}"


def _hub_name(source: str | None) -> str | None:
    """The source, if it is a name on the Hub and neither built in nor a path here."""
    if source is None or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        return None
    return None if Path(source).is_dir() else source  # as the readers of both ask


def _shown(source: str) -> str:
    """A source as the card names it; of a path here only the last part."""
    return source if ":" in source or _hub_name(source) else Path(source).name


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the scores of a split were measured on.

    Attributes:
      corpora: as the card names them.
      held_out: it is a part of them that training did not see.
      hub: the one data set of the Hub whose split it is, if it is that.
      configuration: of that data set.
      types: whether they are as the corpora have them, none renamed or left out.
    """

    corpora: list[str]
    held_out: bool = False
    hub: str | None = None
    configuration: str | None = None
    types: bool = True

    def __str__(self) -> str:
        where = "a part held out of " * self.held_out + " and ".join(self.corpora)
        return where + self.other

    @property
    def other(self) -> str:
        """What makes scores on it no others' scores on the corpora."""
        return "" if self.types else ", some of its types renamed or left out"


def _measured(config: TrainConfig, split: str) -> Measured:
    types = not (config.map_types or config.drop_types)
    if split == "validation" and (config.held_out or config.cross_validation):
        return Measured(_corpora(config, "train"), held_out=True, types=types)
    names = _corpora(config, split)
    if getattr(config, f"{split}_file") or len(names) != 1 or not types:
        return Measured(names, types=types)
    (part,) = each(config.dataset_config) or ("",)
    return Measured(names, False, _hub_name(*each(config.dataset)), part or None)


def _corpora(config: TrainConfig, split: str) -> list[str]:
    """What a split is read from, as the card names it."""
    files = [Path(file).name for file in each(getattr(config, f"{split}_file"))]
    mixed = split == "train" or not files  # files of other splits stand instead of the data sets'
    return [*(_data_sets(config) if mixed else ()), *files]


def _data_sets(config: TrainConfig) -> list[str]:
    names, own = each(config.dataset), each(config.dataset_config) or ("",)
    own = own * len(names) if len(own) == 1 else own
    pairs = zip(map(_shown, names), own, strict=False)
    return [f"{name} ({part})" if part else name for name, part in pairs]


def _over_seeds(summary: Mapping[str, Any], splits: Sequence[str]) -> dict[str, Any]:
    """F1 of each seed, the mean and the standard deviation, by split."""
    f1 = [summary[split]["overall_f1"] for split in splits]
    return {
        "best": summary["best_seed"],
        "chosen": "validation" in splits,
        "splits": splits,
        "rows": [(s, [of["seeds"][i] for of in f1]) for i, s in enumerate(summary["seeds"])],
        "mean": [f"{of['mean']:.4f} ± {of['std']:.4f}" for of in f1],
    }


def _widget(sentences: Sequence[Predicted]) -> list[str]:
    """The first sentences of middling length, those with most types before others."""
    usable = [s for s in sentences if 5 <= len(s.words) <= 30 and tags_to_spans(s.gold)]
    usable.sort(key=lambda s: -len({span.type for span in tags_to_spans(s.gold)}))
    texts = (re.sub(r" (?=[.,;:!?)])|(?<=\() ", "", " ".join(s.words)) for s in usable)
    return list(dict.fromkeys(texts))[:WIDGETS]


def _mistakes(split: str, sentences: Sequence[Predicted]) -> dict[str, Any]:
    """The confusion between types, and sentences with errors, of one split."""
    columns, rows = confusion_table(confusion(sentences))
    return {
        "split": split,
        "boundary": BOUNDARY,
        "spurious": SPURIOUS,
        "columns": columns,
        "rows": [(kind, list(zip(columns, row, strict=True))) for kind, row in rows],
        "examples": [
            (" ".join(s.words), _entities(s.words, s.gold), _entities(s.words, s.tags))
            for s in examples(sentences, SHOWN_ERRORS)
        ],
    }


def _entities(words: Sequence[str], tags: Sequence[str]) -> str:
    return ", ".join(f"{' '.join(words[s.start : s.end])} ({s.type})" for s in tags_to_spans(tags))


def _settings(config: TrainConfig, train: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What it was trained with, and what came of it, for the table."""
    shown = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "seed")
    rows = [(name, getattr(config, name)) for name in (*shown, "max_length", "precision")]
    rows += list(config.recipe.items())
    for name, value in config.departures.items():  # what of its corpus it was trained on, and how
        rows.append((name, " ".join(value) if isinstance(value, tuple) else value))
    if config.in_documents:
        rows.append(("sentences shown alone", f"{config.context_share:.0%}"))
    rows += [(name, train[name]) for name in ("steps", "best_step") if name in train]
    numbers = [name for name in ("seconds", "tokens_per_second") if name in train]
    rows += [(name, f"{train[name]:,.0f}") for name in numbers]
    if "fill" in train:
        rows.append(("fill of the packed rows", f"{train['fill']:.1%}"))
    if "devices" in train:
        rows.append(("hardware", f"{train['devices']} x {train['device_kind']}"))
    return rows


def versions() -> dict[str, str]:
    """The packages that a run depends on most, and which of them are installed."""
    return {package: _version(package) for package in VERSIONS}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
