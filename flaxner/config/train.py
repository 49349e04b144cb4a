"""The settings of a run: defaults < preset or TOML file < command-line flags.

Every setting, with its default, help and bounds, is defined in `TrainConfig` or its base classes
`DataSettings` and `RecipeSettings`, and nowhere else.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from flaxner.config.data import DataSettings
from flaxner.config.fields import check, normal
from flaxner.config.fields import setting as _setting
from flaxner.config.recipes import RecipeSettings
from flaxner.config.toml import as_toml

SPLITS = ("train", "validation", "test")
AUTO, LEVEL, SHUFFLED = "auto", "level", "shuffled"  # how sentences are grouped into steps
SHORTEST_OF_DOCUMENTS = 128  # minimum tokens per window with document context


@dataclasses.dataclass(frozen=True)
class TrainConfig(RecipeSettings, DataSettings):
    """All settings of a training run; checked on construction.

    `flaxner train --help` and docs/settings.md say what each one does.

    Raises:
      ValueError: a value is out of bounds; the message names the setting.
    """

    # what
    model: str = _setting(
        "google-bert/bert-base-cased",
        "model to start from: Hub name, local folder, or flaxner:tiny",
        path=True,
    )
    revision: str | None = _setting(None, "branch, tag or commit of the model on the Hub")
    dataset: str | tuple[str, ...] | None = _setting(
        None,
        "corpus: Hub name, local folder, or flaxner:embedded; several are mixed",
        several=True,
        path=True,
    )
    dataset_config: str | tuple[str, ...] | None = _setting(
        None, "configuration of the Hub data set: one for all or one for each", several=True
    )
    dataset_revision: str | tuple[str, ...] | None = _setting(
        None, "branch, tag or commit of the Hub data set: one for all or one for each", several=True
    )
    train_file: str | tuple[str, ...] | None = _setting(
        None,
        "training corpus file; several files, and any --dataset, are mixed",
        several=True,
        path=True,
    )
    validation_file: str | tuple[str, ...] | None = _setting(
        None,
        "validation corpus file, used instead of the data set's validation split",
        several=True,
        path=True,
    )
    test_file: str | tuple[str, ...] | None = _setting(
        None,
        "test corpus file, used instead of the data set's test split",
        several=True,
        path=True,
    )
    format: str | None = _setting(
        None,
        "format of the corpus files: conll, json, parquet, table, span-table, spacy (default: "
        "detected)",
    )
    word_column: str | None = _setting(None, "column of the words: a name, or a number from 0")
    tag_column: str | None = _setting(None, "column of the tags: a name, or a number from 0")
    text_column: str | None = _setting(None, "column of the texts, in span corpora")
    spans_column: str | None = _setting(None, "column of the character spans")
    sentence_column: str | None = _setting(None, "column of the sentence numbers, in tables")
    scheme: str | None = _setting(
        None,
        "IO: the tag column holds bare types without a prefix (person, O) (default: detected from "
        "the prefixes)",
        choices=("IO",),
    )
    span_policy: str = _setting(
        "error",
        "what to do with spans that split a word or overlap",
        choices=("error", "widen", "drop"),
    )
    span_offsets: str | None = _setting(
        None,
        "unit of span offsets, if the file does not reveal it: characters, utf-16 or utf-8; with "
        "-lf, \\r\\n counts as one; with -crlf, \\n counts as two",
        choices=(
            *("characters", "utf-16", "utf-8"),
            *("characters-lf", "utf-16-lf", "characters-crlf", "utf-16-crlf"),
        ),
    )
    output_dir: str = _setting("runs/ner", "output folder; each run needs its own", path=True)
    overwrite: bool = _setting(False, "delete what another run left in the output folder")
    resume: bool = _setting(False, "continue the run in the output folder")
    # how
    epochs: float = _setting(3.0, "passes over the training corpus", low=0, open=True)
    batch_size: int = _setting(32, "sentences per optimizer step, over all devices", low=1)
    batches: str = _setting(
        AUTO,
        "how sentences are grouped into batches; level: mixed lengths, so that every step has "
        "about the same number of tokens; shuffled: at random; auto: level, or when resuming, what "
        "the run started with; ignored with --context document",
        choices=(AUTO, LEVEL, SHUFFLED),
    )
    learning_rate: float = _setting(5e-5, "peak learning rate", low=0)
    warmup_ratio: float = _setting(
        0.1, "fraction of the steps used for learning rate warm-up", low=0, high=1
    )
    weight_decay: float = _setting(
        0.01, "AdamW weight decay; not applied to biases and layer norms", low=0
    )
    max_grad_norm: float = _setting(
        1.0, "clip gradients to this global norm; 0 disables clipping", low=0
    )
    adam_beta1: float = _setting(0.9, "AdamW beta 1", low=0, high=0.999999)
    adam_beta2: float = _setting(0.999, "AdamW beta 2", low=0, high=0.999999)
    adam_epsilon: float = _setting(1e-8, "AdamW epsilon", low=0, open=True)
    accumulate: int = _setting(
        1, "gradient accumulation: number of parts a batch is computed in, to save memory", low=1
    )
    max_length: int = _setting(
        128,
        "maximum tokens per sentence or window, including [CLS] and [SEP]; longer sentences are "
        "split into overlapping windows",
        low=8,
    )
    row_length: int = _setting(
        0,
        "tokens per packed row; 0: same as --max-length or, on a CPU, more if it leaves less empty",
        low=0,
    )
    seed: int = _setting(
        0, "seed for the data order, the new head's weights and dropout", low=0, high=2**32 - 1
    )
    seeds: int = _setting(
        1,
        "train N models with seeds --seed, --seed + 1, ..., each in OUTPUT_DIR/seed-S; report the "
        "mean and standard deviation, and export the best by validation F1",
        low=1,
    )
    seeds_at_once: int = _setting(
        0,
        "number of seeds trained together in one compiled step; 0: as many as fit on GPUs and "
        "TPUs, one at a time on CPUs; 1: one at a time",
        low=0,
    )
    precision: str = _setting(
        "auto",
        "precision of the computation; auto: bfloat16 on TPU and GPU, float32 on CPU; tf32: "
        "float32 with TF32 matrix products on NVIDIA GPUs",
        choices=("auto", "float32", "tf32", "bfloat16"),
    )
    scan_layers: bool = _setting(
        False, "compile a single layer instead of all of them, to save compile time"
    )
    remat: bool = _setting(
        False, "recompute activations in the backward pass (rematerialisation), to save memory"
    )
    fsdp: int = _setting(1, "number of devices to shard each parameter over", low=1)
    # when
    eval_every: int = _setting(0, "steps between evaluations; 0: once per epoch", low=0)
    save_every: int = _setting(0, "steps between checkpoints; 0: at every evaluation", low=0)
    select: str = _setting(
        "best", "model to export: best by validation F1, or last", choices=("best", "last")
    )
    log_every: int = _setting(10, "steps between lines of metrics.jsonl", low=1)
    keep: int = _setting(2, "number of recent checkpoints to keep, besides the best", low=1)
    eval_batch_size: int = _setting(64, "rows per evaluation step, over all devices", low=1)
    compilation_cache: str = _setting(
        "~/.cache/flaxner/jax", "folder for JAX's compilation cache; empty: none", path="as it is"
    )
    segment_cache: str = _setting(
        "~/.cache/flaxner/segments",
        "folder in which to cache large tokenised corpora; empty: none",
        path="as it is",
    )
    report_to: tuple[str, ...] = _setting(
        (),
        "experiment trackers to report to: tensorboard, wandb, mlflow, trackio",
        many="TRACKER",
        choices=("tensorboard", "wandb", "mlflow", "trackio"),
    )
    license: str | None = _setting(
        None,
        "licence of the model, for its card, as named on the Hub (such as apache-2.0)",
        pattern=(r"[a-z0-9.+-]+", "a licence name used on the Hub, such as apache-2.0"),
    )
    language: str | None = _setting(
        None,
        "language of the model, for its card: ISO 639 codes, separated by commas",
        pattern=(
            r"([a-z]{2,3}|multilingual)(,([a-z]{2,3}|multilingual))*",
            "ISO 639 codes separated by commas, such as en or de,fr",
        ),
    )
    # where: settings of this process, not of the run, and therefore not in config.toml
    inspect: bool = _setting(
        False,
        "examine the corpora, print what training would encounter, and exit",
        of_process=True,
    )
    coordinator: str | None = _setting(
        None, "HOST:PORT of process 0; not needed on TPU pods, SLURM or Open MPI", of_process=True
    )
    num_processes: int = _setting(
        0, "number of processes in the run; 0: detected", low=0, of_process=True
    )
    process_id: int = _setting(-1, "index of this process; -1: detected", low=-1, of_process=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = normal(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            check(field, value, TrainConfig)
        self.check_data(self.validation_file)
        if self.train_file is None and self.dataset is None:
            raise ValueError("a run needs a corpus: give --dataset or --train-file")
        self.check_recipe(self.label_tokens, self.class_weights)
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite are mutually exclusive")
        self._check_seeds()
        if self.row_length and self.row_length < self.max_length:
            raise ValueError(
                f"row_length must be at least max_length: {self.row_length} < {self.max_length}; "
                "with --row-length 0 it follows max_length"
            )
        if self.in_documents and self.max_length < SHORTEST_OF_DOCUMENTS:
            raise ValueError(
                f"--context document needs windows of at least {SHORTEST_OF_DOCUMENTS} tokens, as "
                f"shorter ones hardly hold a second sentence: max_length is {self.max_length}"
            )

    def _check_seeds(self) -> None:
        if self.seeds > 1 and self.cross_validation:
            raise ValueError("--seeds and --cross-validation are mutually exclusive")
        if self.seeds_at_once > 1 and self.seeds == 1:
            raise ValueError(
                f"--seeds-at-once {self.seeds_at_once} needs several seeds: set --seeds as well"
            )
        if self.seed + self.seeds > 2**32:
            raise ValueError(
                f"seeds must all be below 2**32: got {self.seeds} seeds starting at {self.seed}"
            )

    @property
    def packed_length(self) -> int:
        """Tokens per packed row, unless training chooses longer rows on a CPU."""
        return self.row_length or self.max_length

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a copy with some values changed, checked again."""
        return dataclasses.replace(self, **changes)

    def to_toml(self) -> str:
        """Return every setting as TOML; unset ones appear as comments."""
        return as_toml(self)


# Settings that may change when a run is resumed: where and how often things happen, not what is
# trained. Corpora are compared by content, not by name.
NOT_FINGERPRINTED = frozenset(
    {
        *("dataset", "dataset_config", "dataset_revision"),
        *("train_file", "validation_file", "test_file"),
        *("output_dir", "overwrite", "resume", "inspect", "license", "language", "report_to"),
        *("log_every", "save_every", "keep", "seeds", "seeds_at_once", "eval_batch_size"),
        *("compilation_cache", "segment_cache"),
        *("fsdp", "coordinator", "num_processes", "process_id"),
    }
)
