"""The model card of a run: what the model is, how well it does, how to use it, how it was made."""

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
from flaxner.data.tags import Span
from flaxner.evaluation.mistakes import LONGEST, confusion_table, examples
from flaxner.evaluation.predictions import Predicted
from flaxner.models.layers.encoder import Encoder
from flaxner.publishing.card_metadata import card_metadata
from flaxner.wording import percent

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
    """Return the README.md of a Hub folder.

    Args:
      config: settings of the run, including licence and language.
      scheme: label table.
      encoder: the model's encoder.
      results: content of results.json; has no splits if the model was not scored.
      predictions: split -> sentences, for the confusion table, errors and widget examples.
      name: USER/NAME; the name of the output folder if None.
      dtype: dtype of the weights in the folder; the scores are those of float32 weights.
      onnx: whether the folder has an ONNX file.
      quantized: what int8 costs, if the folder has a quantised ONNX file.
      seeds: results.json of the multi-seed run whose best model this is.
    """
    predictions = predictions or {}
    name = name or Path(config.output_dir).name
    scored = {split: results[split] for split in SCORED_SPLITS if _has_entities(results.get(split))}
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
        arithmetic=arithmetic(results),
        onnx=onnx,
        quantized=quantized,
        seeds=seeds and _over_seeds(seeds, list(scored)),
        scored=scored,
        measured=measured,
        mistakes=judged and _mistakes(judged, predictions[judged]),
        settings=_settings(config, results["train"]),
        versions=_software(results["train"]),
        files=bool(config.train_file),
        max_length=config.max_length,
        in_documents=config.in_documents,
    )


def arithmetic(results: Mapping[str, Any]) -> str:
    """Return the dtype that a run computed its scores in, from its results.json."""
    precision: str = results["train"].get("precision", "float32")
    return precision


def _has_entities(scores: Mapping[str, Any] | None) -> bool:
    """Whether a split was scored on entities: without any, its F1 of 0 says nothing."""
    return scores is not None and any(row["support"] for row in scores["per_type"].values())


def has_scores(card: str) -> bool:
    """Return whether a card's metadata holds scores (`model-index`)."""
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    return head is not None and "\nmodel-index:" in f"\n{head[1]}"


def _hub_name(source: str | None) -> str | None:
    """Return the source if it is a Hub name rather than built in or a local path, else None."""
    if source is None or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        return None
    return None if Path(source).is_dir() else source  # model and corpus readers test the same way


def _shown(source: str) -> str:
    """Return a source as the card names it; for a local path, only the last part."""
    return source if ":" in source or _hub_name(source) else Path(source).name


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the scores of a split were measured on.

    Attributes:
      corpora: names of the corpora, as the card shows them.
      held_out: whether the split is a part of them that training did not see.
      hub: the Hub data set that the split belongs to, if it is the split of a single one.
      configuration: configuration of that data set.
      types: whether the types are those of the corpora, with none renamed or left out.
    """

    corpora: list[str]
    held_out: bool = False
    hub: str | None = None
    configuration: str | None = None
    types: bool = True

    def __str__(self) -> str:
        where = "a held-out part of " * self.held_out + " and ".join(self.corpora)
        return where + self.other

    @property
    def other(self) -> str:
        """Why scores on it are not comparable with others' scores on the corpora, if so."""
        return "" if self.types else ", with some types renamed or left out"


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
    """Return the names of what a split is read from, as the card shows them."""
    files = [Path(file).name for file in each(getattr(config, f"{split}_file"))]
    mixed = split == "train" or not files  # in other splits, files replace the data sets
    return [*(_data_sets(config) if mixed else ()), *files]


def _data_sets(config: TrainConfig) -> list[str]:
    names, own = each(config.dataset), each(config.dataset_config) or ("",)
    own = own * len(names) if len(own) == 1 else own
    pairs = zip(map(_shown, names), own, strict=False)
    return [f"{name} ({part})" if part else name for name, part in pairs]


def _over_seeds(summary: Mapping[str, Any], splits: Sequence[str]) -> dict[str, Any]:
    """Return the F1 of each seed, and the mean and standard deviation, for each split."""
    f1 = [summary[split]["overall_f1"] for split in splits]
    return {
        "best": summary["best_seed"],
        "chosen": "validation" in splits,
        "splits": splits,
        "rows": [(s, [of["seeds"][i] for of in f1]) for i, s in enumerate(summary["seeds"])],
        "mean": [f"{of['mean']:.4f} ± {of['std']:.4f}" for of in f1],
    }


def _widget(sentences: Sequence[Predicted]) -> list[str]:
    """Return the first medium-length sentences, preferring those with the most types."""
    usable = [s for s in sentences if 5 <= len(s.words) <= 30 and s.annotated]
    usable.sort(key=lambda s: -len({span.type for span in s.annotated}))
    texts = (re.sub(r" (?=[.,;:!?)])|(?<=\() ", "", " ".join(s.words)) for s in usable)
    return list(dict.fromkeys(texts))[:WIDGETS]


def _mistakes(split: str, sentences: Sequence[Predicted]) -> dict[str, Any]:
    """Return the confusion between types, and sentences with errors, of one split."""
    table = confusion_table(sentences)
    return {
        "split": split,
        **table._asdict(),
        "rows": [(kind, list(zip(table.columns, row, strict=True))) for kind, row in table.rows],
        "any": any(s.annotated != s.found for s in sentences),
        "longest": LONGEST,
        "examples": [
            (" ".join(s.words), _entities(s.words, s.annotated), _entities(s.words, s.found))
            for s in examples(sentences, SHOWN_ERRORS)
        ],
    }


def _entities(words: Sequence[str], spans: Sequence[Span]) -> str:
    return ", ".join(f"{' '.join(words[s.start : s.end])} ({s.type})" for s in spans)


def _settings(config: TrainConfig, train: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the rows of the training table: the settings, then the figures of the run."""
    shown = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "seed")
    rows = [(name, getattr(config, name)) for name in (*shown, "max_length", "precision")]
    rows += list(config.recipe.items())
    for name, value in config.departures.items():  # which part of its corpora it saw, and how
        rows.append((name, " ".join(value) if isinstance(value, tuple) else value))
    if config.in_documents:
        rows.append(("sentences shown on their own", percent(config.context_share)))
    rows += [(name, train[name]) for name in ("steps", "best_step") if name in train]
    numbers = [name for name in ("seconds", "tokens_per_second") if name in train]
    rows += [(name, f"{train[name]:,.0f}") for name in numbers]
    if "fill" in train:
        rows.append(("fill of packed rows", f"{train['fill']:.1%}"))
    if "devices" in train:
        rows.append(("hardware", f"{train['devices']} x {train['device_kind']}"))
    return rows


def _software(train: Mapping[str, Any]) -> list[str]:
    """Return the package versions that trained the model, if the run recorded them."""
    return [f"{name} {version}" for name, version in train.get("versions", {}).items()]


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that a run depends on most."""
    return {package: _version(package) for package in VERSIONS}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
