"""The model card of a run: what it is, how well it does, how it was made, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner import hub
from flaxner.config import TrainConfig
from flaxner.labels import LabelScheme

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


def model_card(config: TrainConfig, scheme: LabelScheme, results: Mapping[str, Any]) -> str:
    """README.md of a Hub folder: YAML metadata, scores per type, settings, usage.

    Args:
      config: settings of the run.
      scheme: label table.
      results: the content of results.json.
    """
    name = Path(config.output_dir).name
    metadata = hub.card_metadata(
        model_name=name,
        base_model=config.model if ":" not in config.model else None,
        dataset=config.dataset if config.dataset and ":" not in config.dataset else None,
        scores={split: results[split] for split in ("validation", "test") if split in results},
    )
    parts = [
        f"---\n{metadata}\n---\n",
        f"# {name}\n",
        f"A BERT token classifier for named entity recognition: {', '.join(scheme.types)}. "
        f"Fine-tuned with flaxner from `{config.model}` on "
        f"`{config.dataset or config.train_file}`.\n",
        "## Results\n",
        *(_table(split, results[split]) for split in ("validation", "test") if split in results),
        "Entities are scored by seqeval as in the CoNLL shared tasks; every word of the corpus "
        "is scored once.\n",
        USAGE.format(name=name),
        "## Training\n",
        _settings(config, results["train"]),
    ]
    return "\n".join(parts)


def _table(split: str, report: Mapping[str, Any]) -> str:
    rows = [
        f"### {split}\n",
        "| type | precision | recall | F1 | support |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["per_type"].items():
        scores = " | ".join(f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        rows.append(f"| {name} | {scores} | {row['support']} |")
    overall = " | ".join(f"{report[f'overall_{key}']:.4f}" for key in ("precision", "recall", "f1"))
    support = sum(row["support"] for row in report["per_type"].values())
    return "\n".join([*rows, f"| **all** | {overall} | {support} |", ""])


def _settings(config: TrainConfig, train: Mapping[str, Any]) -> str:
    shown = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "weight_decay", "seed")
    rows = [f"| {name} | {getattr(config, name)} |" for name in (*shown, "max_length", "precision")]
    rows += [f"| {name} | {train[name]} |" for name in ("steps", "best_step", "seconds")]
    rows.append(f"| devices | {train['devices']} x {train['device_kind']} |")
    return "\n".join(["| setting | value |", "|---|---|", *rows, ""])
