"""The model card of a run: what it is, how well it does, how it was made, how to use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from flaxner.config.fields import each
from flaxner.config.train import TrainConfig
from flaxner.data.tags import LabelScheme
from flaxner.evaluation.mistakes import BOUNDARY, MISSED, SPURIOUS, confusion, examples, spans
from flaxner.evaluation.predictions import Predicted
from flaxner.publishing.card_metadata import card_metadata

SPLITS = ("validation", "test")
SHOWN_ERRORS = 5
WIDGETS = 3
VERSIONS = ("flaxner", "jax", "flax", "optax", "transformers")

USAGE = """## Use it

With PyTorch:

```python
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForTokenClassification.from_pretrained("{name}")
ner = pipeline("ner", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
print(ner("The headquarters of Google is located in Mountain View, California."))
```

With JAX:

```python
from flaxner import pipeline

ner = pipeline("ner", model="{name}", aggregation_strategy="simple")
print(ner("The headquarters of Google is located in Mountain View, California."))
```
"""

ONNX_USAGE = """With ONNX Runtime:

```python
import onnxruntime
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
tags = AutoConfig.from_pretrained("{name}").id2label
session = onnxruntime.InferenceSession(hf_hub_download("{name}", "onnx/model.onnx"))
inputs = tokenizer(
    "The headquarters of Google is located in Mountain View, California.", return_tensors="np"
)
logits = session.run(["logits"], dict(inputs))[0]
print(list(zip(inputs.tokens(), (tags[i] for i in logits[0].argmax(-1)))))
```
"""

LIMITS = """## Limits

- It knows the types {types} and no others, as the annotators of its corpus understood them.
- Scores were measured on the corpus named above; on other text, domains or languages they are
  usually lower. Measure on your own text before you rely on it.
- Input over {length} tokens is cut by the plain PyTorch pipeline; flaxner's works in windows.
- Names carry social bias: a model can find the names of some groups better than of others.
"""

CITATION = """## Citation

```bibtex
@inproceedings{devlin-etal-2019-bert,
  title = "{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding",
  author = "Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
  booktitle = "Proceedings of NAACL-HLT 2019",
  year = "2019",
  pages = "4171--4186",
  doi = "10.18653/v1/N19-1423"
}
```
"""


def model_card(
    config: TrainConfig,
    scheme: LabelScheme,
    results: Mapping[str, Any],
    *,
    predictions: Mapping[str, Sequence[Predicted]] | None = None,
    name: str | None = None,
    onnx: bool = False,
) -> str:
    """README.md of a Hub folder.

    Args:
      config: settings of the run, licence and language among them.
      scheme: label table.
      results: the content of results.json; without splits for a model that was not scored.
      predictions: split -> sentences, for confusion, errors and widget examples.
      name: USER/NAME; the output folder's name if None.
      onnx: the folder has an ONNX file.
    """
    predictions = predictions or {}
    name = name or Path(config.output_dir).name
    scored = {split: results[split] for split in SPLITS if split in results}
    corpora = (*each(config.dataset), *each(config.train_file))
    head = card_metadata(
        model_name=name.split("/")[-1],
        base_model=_hub_name(config.model),
        datasets=[name for name in map(_hub_name, each(config.dataset)) if name],
        corpus=" and ".join(corpus.strip("`") for corpus in map(_shown, corpora)),
        scores=scored,
        widget=_widget(predictions.get("validation", ())),
        license=config.license,
        language=config.language.split(",") if config.language else (),
        tags=("onnx",) if onnx else (),
    )
    parts = [
        f"---\n{head}\n---\n",
        f"# {name.split('/')[-1]}\n",
        f"A BERT token classifier for named entity recognition. It finds "
        f"{', '.join(scheme.types)}. Fine-tuned with flaxner (JAX/Flax) from "
        f"{_shown(config.model)} on {' and '.join(map(_shown, corpora))}; "
        f"PyTorch and JAX load it alike.{_summary(scored)}\n",
        USAGE.format(name=name),
        ONNX_USAGE.format(name=name) if onnx else "",
        "## Results\n",
        *(_scores(split, report) for split, report in scored.items()),
        "Entities are counted by seqeval as in the CoNLL shared tasks; every word of the corpus "
        "is scored once.\n"
        if scored
        else "This checkpoint has not been scored.\n",
    ]
    last = [split for split in SPLITS if split in scored and predictions.get(split)][-1:]
    for split in last:
        parts += [_confusion(split, predictions[split]), _errors(split, predictions[split])]
    parts += [
        "## Training\n",
        _settings(config, results["train"]),
        LIMITS.format(types=", ".join(scheme.types), length=config.max_length),
        CITATION,
    ]
    return "\n".join(part for part in parts if part)


def _summary(scored: Mapping[str, Any]) -> str:
    """The score that people look for, in the first lines."""
    for split, report in reversed(list(scored.items())):
        return f" F1 on {split}: **{report['overall_f1']:.4f}**."
    return ""


def has_scores(card: str) -> bool:
    """Whether a card says how well its model does, to the Hub."""
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    return head is not None and "\nmodel-index:" in f"\n{head[1]}"


def _hub_name(source: str | None) -> str | None:
    """The source, if it is a name on the Hub and neither built in nor a path here."""
    if source is None or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        return None
    return None if Path(source).exists() else source


def _shown(source: str) -> str:
    """A source as the card names it; of a path here only the last part."""
    built_in = ":" in source
    return f"`{source if built_in or _hub_name(source) else Path(source).name}`"


def _widget(sentences: Sequence[Predicted]) -> list[str]:
    """The first sentences of middling length, those with most types before others."""
    usable = [s for s in sentences if 5 <= len(s.words) <= 30 and spans(s.gold)]
    usable.sort(key=lambda s: -len({span.type for span in spans(s.gold)}))
    texts = (re.sub(r" (?=[.,;:!?)])|(?<=\() ", "", " ".join(s.words)) for s in usable)
    return list(dict.fromkeys(texts))[:WIDGETS]


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _scores(split: str, report: Mapping[str, Any]) -> str:
    rows = [
        f"### {split}\n",
        _row("type", "precision", "recall", "F1", "support"),
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in report["per_type"].items():
        scores = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        rows.append(_row(_text(name), *scores, row["support"]))
    overall = (f"{report[f'overall_{key}']:.4f}" for key in ("precision", "recall", "f1"))
    support = sum(row["support"] for row in report["per_type"].values())
    accuracy = f"Word accuracy {report['overall_accuracy']:.4f}.\n"
    return "\n".join([*rows, _row("**all**", *overall, support), "", accuracy])


def _confusion(split: str, sentences: Sequence[Predicted]) -> str:
    counts = confusion(sentences)
    types = sorted({t for pair in counts for t in pair} - {MISSED, BOUNDARY, SPURIOUS})
    if not types:
        return ""
    columns = [*types, BOUNDARY, MISSED]
    rows = [
        f"### Confusion between types ({split})\n",
        f"Rows are the annotated types, columns what the model said of the same words. "
        f"*{BOUNDARY}*: it found an entity of other extent. *{SPURIOUS}*: found where none is.\n",
        _row("", *(_text(column) for column in columns)),
        "|---|" + "---:|" * len(columns),
    ]
    for name in [*types, SPURIOUS]:
        cells = (counts[name, column] for column in columns)
        shown = (f"**{n}**" if c == name else n for c, n in zip(columns, cells, strict=True))
        rows.append(_row(f"**{_text(name)}**", *shown))
    return "\n".join([*rows, ""])


def _errors(split: str, sentences: Sequence[Predicted]) -> str:
    chosen = examples(sentences, SHOWN_ERRORS)
    if not chosen:
        return f"It makes no error on {split}.\n"
    rows = [f"### Errors ({split})\n", _row("sentence", "annotated", "found"), "|---|---|---|"]
    rows += [
        _row(_text(" ".join(s.words)), _named(s.words, s.gold), _named(s.words, s.tags))
        for s in chosen
    ]
    return "\n".join([*rows, ""])


def _named(words: Sequence[str], tags: Sequence[str]) -> str:
    named = [f"{' '.join(words[s.start : s.end])} ({s.type})" for s in spans(tags)]
    return _text(", ".join(named)) or "-"


def _text(text: str) -> str:
    """Text that Markdown leaves as it is, in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)


def _settings(config: TrainConfig, train: Mapping[str, Any]) -> str:
    shown = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "seed")
    rows = [_row(name, getattr(config, name)) for name in (*shown, "max_length", "precision")]
    for name, value in config.departures.items():  # what of its corpus it was trained on, and how
        rows.append(_row(name, _text(" ".join(value) if isinstance(value, tuple) else str(value))))
    rows += [_row(name, train[name]) for name in ("steps", "best_step") if name in train]
    rows += [
        _row(name, f"{train[name]:,.0f}")
        for name in ("seconds", "tokens_per_second")
        if name in train
    ]
    if "fill" in train:
        rows.append(_row("fill of the packed rows", f"{train['fill']:.1%}"))
    if "devices" in train:
        rows.append(_row("hardware", f"{train['devices']} x {train['device_kind']}"))
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    repeat = (
        f"With {versions}. The settings are in `config.toml`: `python scripts/train.py --config "
        "config.toml` of flaxner repeats the run"
        + (", with the corpus files beside.\n" if config.train_file else ".\n")
    )
    return "\n".join([_row("setting", "value"), "|---|---|", *rows, "", repeat])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
