"""The arguments of `transformers.pipeline` that have no effect here.

Calls written for `transformers` keep working: a value that changes nothing is accepted, and one
that would change something is refused with an error that says what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.inference.precision import dtype_name


class Neutral(NamedTuple):
    """The values of an argument that change nothing, and what to do instead of other values."""

    values: tuple[Any, ...]
    remedy: str


NONE = Neutral((None,), "a token classifier has none")
OURS = Neutral((None,), "the pipeline is flaxner's own")
NO_CODE = "flaxner never runs code that comes with a model"
NEUTRAL: dict[str, Neutral] = {
    "use_fast": Neutral((None, True), "only fast tokenizers work: save a tokenizer.json"),
    "trust_remote_code": Neutral((None, False), NO_CODE),
    "code_revision": Neutral((None,), NO_CODE),
    "feature_extractor": NONE,
    "image_processor": NONE,
    "video_processor": NONE,
    "processor": NONE,
    "pipeline_class": OURS,
    "args_parser": OURS,
    "binary_output": Neutral((None, False), "answers are lists of entities"),
    "grouped_entities": Neutral((None, False), 'use aggregation_strategy="simple"'),
    "framework": Neutral((None, "pt", "flax", "jax"), "the pipeline runs on JAX"),
    "device_map": Neutral((None, "auto"), "choose the device with device="),
    "attn_implementation": Neutral((None, "eager", "sdpa"), "attention is flaxner's own"),
    "low_cpu_mem_usage": Neutral((None, True, False), "leave it out"),
    "use_safetensors": Neutral((None, True), "safetensors are read wherever there are any"),
}
# These matter only for models on the Hub.
OF_THE_HUB: dict[str, Neutral] = {
    "token": Neutral((None, True), "log in with `hf auth login`, or set HF_TOKEN"),
    "local_files_only": Neutral((None, False), "set HF_HUB_OFFLINE=1"),
    "cache_dir": Neutral((None,), "set HF_HUB_CACHE"),
    "force_download": Neutral((None, False), "remove it from the cache with `hf cache rm`"),
}
DTYPES = ("dtype", "torch_dtype")
OTHERS = frozenset({*NEUTRAL, *OF_THE_HUB, "torch_dtype", "model_kwargs"})


def settled(model: Any, config: Any, dtype: Any, others: Mapping[str, Any]) -> str:
    """Return the name of the dtype, after checking that the other arguments change nothing.

    Args:
      model, config, dtype: the pipeline's arguments of these names.
      others: arguments whose names are in OTHERS.

    Raises:
      ValueError: an argument would change something; the message says what to do instead.
    """
    if config is not None and str(config) != str(model):
        raise ValueError(
            "config is always the model's own: edit its config.json, or pass id2label=, scheme= "
            "or tokenizer= to the pipeline"
        )
    kwargs = others.get("model_kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ValueError(f"model_kwargs must be a dict: got {kwargs!r}")
    local = not isinstance(model, str | Path) or Path(model).is_dir()
    for name, value in [*others.items(), *kwargs.items()]:
        if name not in (*DTYPES, "model_kwargs"):
            _check_neutral(name, value, local=local)
    said = [dtype, others.get("torch_dtype"), *(kwargs.get(name) for name in DTYPES)]
    names = sorted({dtype_name(one) for one in said if one is not None})
    if len(names) > 1:
        raise ValueError(f"dtype is given twice with different values: {' and '.join(names)}")
    return names[0] if names else dtype_name(None)


def _check_neutral(name: str, value: Any, *, local: bool) -> None:
    neutral = NEUTRAL.get(name) or OF_THE_HUB.get(name)
    if neutral is None:
        known = ", ".join(sorted({*NEUTRAL, *OF_THE_HUB, *DTYPES}))
        raise ValueError(f"unknown name {name!r} in model_kwargs; choose from: {known}")
    unchanged = any(value is known or value == known for known in neutral.values)
    if not unchanged and not (local and name in OF_THE_HUB):
        shown = "..." if name == "token" else repr(value)
        raise ValueError(f"{name}={shown} is not supported: {neutral.remedy}")
