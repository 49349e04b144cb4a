"""The settings of a run: defaults < preset or TOML file < command-line flags.

Every setting, its default, its help and its bounds stand in `TrainConfig`, or in its bases
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
AUTO, LEVEL, SHUFFLED = "auto", "level", "shuffled"  # which sentences share a step
SHORTEST_OF_DOCUMENTS = 128  # tokens of a window with document context


@dataclasses.dataclass(frozen=True)
class TrainConfig(RecipeSettings, DataSettings):
    """All settings of a training run; checked when made.

    Raises:
      ValueError: a value out of its bounds, with the setting's name.
    """

    # what
    model: str = _setting(
        "google-bert/bert-base-cased",
        "BERT to start from: Hub name, folder, or flaxner:tiny",
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
        None, "configuration of the Hub data set: one for all, or one for each", several=True
    )
    dataset_revision: str | tuple[str, ...] | None = _setting(
        None, "branch, tag or commit of the Hub data set: one for all or for each", several=True
    )
    train_file: str | tuple[str, ...] | None = _setting(
        None,
        "training corpus as a file; several, and --dataset, are mixed",
        several=True,
        path=True,
    )
    validation_file: str | tuple[str, ...] | None = _setting(
        None, "validation corpus as a file, instead of the data set's", several=True, path=True
    )
    test_file: str | tuple[str, ...] | None = _setting(
        None, "test corpus as a file, instead of the data set's", several=True, path=True
    )
    format: str | None = _setting(
        None, "format of the corpus files: conll, json, parquet, table, spacy; unset: detected"
    )
    word_column: str | None = _setting(None, "column of the words: a name, or a number from 0")
    tag_column: str | None = _setting(None, "column of the tags: a name, or a number from 0")
    text_column: str | None = _setting(None, "column of the texts, in corpora of spans")
    spans_column: str | None = _setting(None, "column of the spans of characters")
    sentence_column: str | None = _setting(None, "column that numbers the sentences of a table")
    scheme: str | None = _setting(
        None,
        "IO: the column of the tags holds types without a prefix (person, O); unset: the scheme of "
        "the prefixes is found out",
        choices=("IO",),
    )
    span_policy: str = _setting(
        "error",
        "what becomes of spans that cut a word or overlap",
        choices=("error", "widen", "drop"),
    )
    span_offsets: str | None = _setting(
        None,
        "what the offsets of spans count, where the file does not show it: characters, utf-16, "
        "utf-8; with -lf \\r\\n counts as one, with -crlf \\n as two",
        choices=(
            *("characters", "utf-16", "utf-8"),
            *("characters-lf", "utf-16-lf", "characters-crlf", "utf-16-crlf"),
        ),
    )
    output_dir: str = _setting("runs/ner", "folder of the run; one run each", path=True)
    overwrite: bool = _setting(False, "delete what another run left in the output folder")
    resume: bool = _setting(False, "continue the run in the output folder")
    # how
    epochs: float = _setting(3.0, "passes over the training corpus", low=0, open=True)
    batch_size: int = _setting(32, "sentences per optimizer step, over all devices", low=1)
    batches: str = _setting(
        AUTO,
        "which sentences share a step; level: of all lengths, so that every step has as many "
        "tokens; shuffled: any; auto: level, and in a run that is continued what it began with; "
        "a step of --context document takes windows as they come",
        choices=(AUTO, LEVEL, SHUFFLED),
    )
    learning_rate: float = _setting(5e-5, "peak of the learning rate", low=0)
    warmup_ratio: float = _setting(0.1, "share of the steps with a rising rate", low=0, high=1)
    weight_decay: float = _setting(0.01, "AdamW's, not on biases and layer norms", low=0)
    max_grad_norm: float = _setting(1.0, "gradients are clipped to this global norm", low=0)
    adam_beta1: float = _setting(0.9, "AdamW's beta 1", low=0, high=0.999999)
    adam_beta2: float = _setting(0.999, "AdamW's beta 2", low=0, high=0.999999)
    adam_epsilon: float = _setting(1e-8, "AdamW's epsilon", low=0, open=True)
    accumulate: int = _setting(1, "parts a batch is computed in, to save memory", low=1)
    max_length: int = _setting(
        128, "tokens of a window, [CLS] and [SEP] included; longer sentences become windows", low=8
    )
    row_length: int = _setting(0, "tokens of a packed row; 0: max_length", low=0)
    seed: int = _setting(
        0, "of the order, the new head's weights and dropout", low=0, high=2**32 - 1
    )
    seeds: int = _setting(
        1,
        "train so many times, with --seed, --seed + 1, ..., each in OUTPUT_DIR/seed-S; report mean "
        "and standard deviation, and export the best by validation F1",
        low=1,
    )
    seeds_at_once: int = _setting(
        0,
        "seeds that one compiled step trains together; 0: on GPUs and TPUs as many as fit, on CPUs "
        "one after the other; 1: one after the other",
        low=0,
    )
    precision: str = _setting(
        "auto",
        "of the computation; auto: bfloat16 on TPU and GPU, float32 on CPU; tf32: float32 whose "
        "products NVIDIA GPUs take in TF32",
        choices=("auto", "float32", "tf32", "bfloat16"),
    )
    scan_layers: bool = _setting(False, "compile one layer instead of all; saves compile time")
    remat: bool = _setting(False, "recompute activations in the backward pass; saves memory")
    fsdp: int = _setting(1, "devices over which each parameter is sharded", low=1)
    # when
    eval_every: int = _setting(0, "steps between evaluations; 0: once an epoch", low=0)
    save_every: int = _setting(0, "steps between checkpoints; 0: at each evaluation", low=0)
    select: str = _setting(
        "best", "which model is exported: best by validation F1, or last", choices=("best", "last")
    )
    log_every: int = _setting(10, "steps between lines of metrics.jsonl", low=1)
    keep: int = _setting(2, "newest checkpoints kept, beside the best", low=1)
    eval_batch_size: int = _setting(64, "rows per evaluation step, over all devices", low=1)
    compilation_cache: str = _setting(
        "~/.cache/flaxner/jax", "folder of JAX's compilation cache; empty: none", path="as it is"
    )
    segment_cache: str = _setting(
        "~/.cache/flaxner/segments",
        "folder of large corpora, tokenised; empty: none",
        path="as it is",
    )
    report_to: tuple[str, ...] = _setting(
        (),
        "trackers that hear of the run: tensorboard, wandb, mlflow, trackio",
        many="TRACKER",
        choices=("tensorboard", "wandb", "mlflow", "trackio"),
    )
    license: str | None = _setting(
        None,
        "licence of the model, for its card: the Hub's name of it",
        pattern=(r"[a-z0-9.+-]+", "a licence's name on the Hub, such as apache-2.0"),
    )
    language: str | None = _setting(
        None,
        "language of the model, for its card: ISO 639 codes, separated by commas",
        pattern=(
            r"([a-z]{2,3}|multilingual)(,([a-z]{2,3}|multilingual))*",
            "ISO 639 codes separated by commas, such as en or de,fr",
        ),
    )
    # where: of this process, not of the run, hence not in config.toml
    inspect: bool = _setting(
        False, "look at the corpora, print what training would meet, and end", of_process=True
    )
    coordinator: str | None = _setting(
        None, "HOST:PORT of process 0; not needed on TPU pods, SLURM, Open MPI", of_process=True
    )
    num_processes: int = _setting(0, "processes of the run; 0: found", low=0, of_process=True)
    process_id: int = _setting(-1, "number of this one; -1: found", low=-1, of_process=True)

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
            raise ValueError("--resume and --overwrite exclude each other")
        self._check_seeds()
        if self.row_length and self.row_length < self.max_length:
            raise ValueError(
                f"row_length must be at least max_length: {self.row_length} < {self.max_length}"
            )
        if self.in_documents and self.max_length < SHORTEST_OF_DOCUMENTS:
            raise ValueError(
                f"--context document needs windows of at least {SHORTEST_OF_DOCUMENTS} tokens, in "
                f"less there is hardly a second sentence: max_length is {self.max_length}"
            )

    def _check_seeds(self) -> None:
        if self.seeds > 1 and self.cross_validation:
            raise ValueError("--seeds and --cross-validation exclude each other")
        if self.seeds_at_once > 1 and self.seeds == 1:
            raise ValueError(
                f"--seeds-at-once {self.seeds_at_once} is of several seeds: give --seeds, too"
            )
        if self.seed + self.seeds > 2**32:
            raise ValueError(
                f"seeds must all be below 2**32: {self.seeds} from {self.seed} on are not"
            )

    @property
    def packed_length(self) -> int:
        """Tokens of a packed row."""
        return self.row_length or self.max_length

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with other values, checked again."""
        return dataclasses.replace(self, **changes)

    def to_toml(self) -> str:
        """Every setting as TOML; one that is None stands as a comment."""
        return as_toml(self)


# Settings that may differ between a run and its continuation: where and how often, not what.
# Corpora are compared by content, whatever their names.
NOT_FINGERPRINTED = frozenset(
    {
        "dataset",
        "dataset_config",
        "inspect",
        "train_file",
        "validation_file",
        "test_file",
        "fsdp",
        "coordinator",
        "num_processes",
        "process_id",
        "output_dir",
        "overwrite",
        "resume",
        "log_every",
        "keep",
        "save_every",
        "seeds",
        "seeds_at_once",
        "eval_batch_size",
        "compilation_cache",
        "segment_cache",
        "report_to",
        "license",
        "language",
    }
)
