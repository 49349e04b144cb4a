"""The settings by what they are for: the sections of `train.py --help` and of docs/settings.md."""

from __future__ import annotations

SECTIONS = {
    "model and output": (
        *("model", "revision", "output_dir", "overwrite", "resume", "inspect", "report_to"),
        *("license", "language"),
    ),
    "corpus": (
        *("dataset", "dataset_config", "dataset_revision"),
        *("train_file", "validation_file", "test_file", "format", "word_column", "tag_column"),
        *("text_column", "spans_column", "sentence_column", "scheme", "span_policy"),
        *("span_offsets", "map_types", "drop_types"),
    ),
    "splits, folds and samples": (
        *("held_out", "cross_validation", "fold", "train_fraction", "few_shot", "data_seed"),
    ),
    "training": (
        *("epochs", "batch_size", "batches", "max_length", "context", "context_share"),
        *("learning_rate", "head_learning_rate", "layer_decay", "warmup_ratio", "schedule"),
        *("weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon"),
        *("seed", "seeds", "seeds_at_once"),
    ),
    "loss, decoder and regularisation": (
        *("label_tokens", "class_weights", "label_smoothing"),
        *("decoder", "crf_learning_rate", "crf_head_share"),
        *("dropout", "attention_dropout", "head_dropout", "ema", "average_last"),
    ),
    "evaluation and checkpoints": (
        *("eval_every", "save_every", "select", "early_stopping", "keep", "log_every"),
        "eval_batch_size",
    ),
    "speed and memory": (
        *("precision", "row_length", "accumulate", "remat", "scan_layers", "fsdp"),
        *("compilation_cache", "segment_cache"),
    ),
    "several hosts": ("coordinator", "num_processes", "process_id"),
}
