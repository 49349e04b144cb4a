"""What flags of `run_ner.py` and the Trainer are called here; docs/moving.md has them, too."""

from __future__ import annotations

_ALWAYS = "train.py always trains, validates and tests"
_CACHED = "no flag is needed: tokenised corpora are cached by their content"
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_OF_THE_MODEL = "no flag is needed: it is the model's own"
_PACKED = "no flag is needed: sentences are packed into full rows"
_PUSH = "push the finished run with convert_and_push.py RUN --push-to-hub USER/NAME"
_WHOLE = "the validation and test splits are always scored whole"

# Without the dashes in front, with "-" for "_".
TRAINER_FLAGS = {
    "model-name-or-path": "--model",
    "model-revision": "--revision",
    "config-name": _OF_THE_MODEL,
    "tokenizer-name": _OF_THE_MODEL,
    "ignore-mismatched-sizes": "no flag is needed: a classifier of other labels is replaced",
    "cache-dir": "set HF_HUB_CACHE and HF_DATASETS_CACHE",
    "token": _LOGIN,
    "hub-token": _LOGIN,
    "dataset-name": "--dataset",
    "dataset-config-name": "--dataset-config",
    "text-column-name": "--word-column",
    "label-column-name": "--tag-column",
    "task-name": "--tag-column",
    "max-seq-length": "--max-length",
    "pad-to-max-length": _PACKED,
    "group-by-length": _PACKED,
    "label-all-tokens": "--label-tokens all",
    "return-entity-level-metrics": "no flag is needed: results.json has them under per_type",
    "train-batch-size": "--batch-size",
    "eval-batch-size": "--eval-batch-size",
    "per-device-train-batch-size": "--batch-size, which counts sentences over all devices",
    "per-device-eval-batch-size": "--eval-batch-size, which counts rows over all devices",
    "gradient-accumulation-steps": "a larger --batch-size, which --accumulate computes in parts",
    "lr": "--learning-rate",
    "lr-scheduler-type": "--schedule",
    "label-smoothing-factor": "--label-smoothing",
    "num-train-epochs": "--epochs",
    "num-epochs": "--epochs",
    "max-steps": "--epochs, which may be a fraction such as 0.1",
    "warmup-steps": "--warmup-ratio, a fraction of all steps",
    "logging-steps": "--log-every",
    "eval-steps": "--eval-every",
    "eval-strategy": "--eval-every",
    "evaluation-strategy": "--eval-every",
    "save-steps": "--save-every",
    "save-strategy": "--save-every",
    "save-total-limit": "--keep",
    "load-best-model-at-end": "--select best, the default",
    "resume-from-checkpoint": "--resume",
    "overwrite-output-dir": "--overwrite",
    "gradient-checkpointing": "--remat",
    "bf16": "--precision bfloat16, the default on TPUs and GPUs",
    "fp16": "--precision bfloat16, the default on TPUs and GPUs",
    "tf32": "--precision tf32",
    "max-train-samples": "--train-fraction",
    "max-eval-samples": _WHOLE,
    "max-predict-samples": _WHOLE,
    "do-train": _ALWAYS,
    "do-eval": _ALWAYS,
    "do-predict": _ALWAYS,
    "preprocessing-num-workers": _CACHED,
    "overwrite-cache": _CACHED,
    "push-to-hub": _PUSH,
    "hub-model-id": _PUSH,
    "trust-remote-code": "code that comes with a model or data set is never run",
}
