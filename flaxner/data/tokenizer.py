"""Fast tokenizers: loaded, checked, made ready for words."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from flaxner.files import read_json

SHORTEST = 8  # tokens that a model must read at once, [CLS] and [SEP] included


def _is_news(record: logging.LogRecord) -> bool:
    """All but the line that `transformers` has no PyTorch, which nothing here needs."""
    return not record.getMessage().startswith("PyTorch was not found")


logging.getLogger("transformers").addFilter(_is_news)


def load_tokenizer(folder: str | Path, *, revision: str | None = None) -> Any:
    """The fast tokenizer of a model folder, or of a Hub model at a revision.

    Nothing of the folder is run: a tokenizer that is a program of its own is refused.

    Raises:
      ValueError: there is none, it has no fast form, or its files do not say what they should.
    """
    _check_settings(Path(folder) / "tokenizer_config.json")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), revision=revision or "main", trust_remote_code=False
        )
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # tokenizers raises bare Exceptions, and Rust's panics
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if "trust_remote_code" in str(error):
            first = "it is a program of its own (auto_map), and flaxner runs nobody's code"
        raise ValueError(f"{folder} has no tokenizer that loads: {first}") from error
    require_fast(tokenizer, str(folder))
    return tokenizer


def _check_settings(path: Path) -> None:
    """Refuse a tokenizer_config.json whose parts are of other kinds than `transformers` takes."""
    if not path.is_file():
        return
    settings = read_json(path)
    for name, kinds, words in (
        ("tokenizer_class", str, "a name"),
        ("model_max_length", int | float, "a number"),
        ("auto_map", dict | list, "a table"),
        ("added_tokens_decoder", dict, "a table"),
    ):
        value = settings.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise ValueError(f"{name} in {path} must be {words}: it is {str(value)[:40]!r}")


def require_fast(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that cannot tell which token came from which word.

    Raises:
      ValueError: it is slow, or has no [CLS] and [SEP].
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"the tokenizer of {source} is slow ({type(tokenizer).__name__}): flaxner needs a fast "
            f"one; save it with a tokenizer.json"
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{source} has no tokenizer: the one made for it has no vocabulary")
    length_limit(tokenizer, UNLIMITED, source)
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise ValueError(f"the tokenizer of {source} has no [CLS] and [SEP] tokens")


def check_vocabulary(tokenizer: Any, size: int, source: str) -> None:
    """Refuse a tokenizer with a token that the model's table has no row for.

    Raises:
      ValueError: it is of another model.
    """
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= size:
        raise ValueError(
            f"the tokenizer has {max(len(tokenizer), largest + 1)} entries and the vocabulary of "
            f"{source} {size}: they belong to different models"
        )


UNLIMITED = 1_000_000  # from here on `transformers` means "no model_max_length"


def length_limit(tokenizer: Any, most: int, source: str = "the model") -> int:
    """Tokens of the longest segment, special tokens included, by the tokenizer's own word.

    Args:
      tokenizer: of `transformers`; its `model_max_length` may be absent or huge: no limit.
      most: what the model takes; a limit beyond it is none.
      source: where the tokenizer came from.

    Raises:
      ValueError: a limit that is no number of tokens, or too few of them.
    """
    said = getattr(tokenizer, "model_max_length", None)
    if said is None:
        return most
    number = isinstance(said, int | float) and not isinstance(said, bool) and said >= SHORTEST
    if not number or (said < UNLIMITED and said != int(said)):
        raise ValueError(
            f"model_max_length of the tokenizer of {source} must be a number of tokens, "
            f"{SHORTEST} or more: it is {said!r}"
        )
    return int(min(said, most))


def plain_backend(tokenizer: Any) -> Any:
    """A copy of the Rust tokenizer that neither cuts nor pads, whatever its file says."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def words_backend(tokenizer: Any) -> Any:
    """As `plain_backend`, for words that are given one by one.

    Byte-level tokenizers know the beginning of a word by the space before it, which a given word
    has not: theirs gets one.
    """
    return _spaced(plain_backend(tokenizer))[0]


def give_prefix_space(tokenizer: Any) -> bool:
    """Have a tokenizer put a space before given words, for good: it is saved so, too.

    Training sees words; whoever loads the published tokenizer must cut them as training did.

    Returns:
      whether it did not do so before.
    """
    backend, changed = _spaced(tokenizer.backend_tokenizer)
    if changed:
        tokenizer._tokenizer = backend
        tokenizer.add_prefix_space = True
        tokenizer.init_kwargs["add_prefix_space"] = True
    return changed


def _spaced(backend: Any) -> tuple[Any, bool]:
    """The Rust tokenizer with `add_prefix_space` in its byte-level parts; whether it was off."""
    state = json.loads(backend.to_str())
    parts = [state.get("pre_tokenizer") or {}, state.get("post_processor") or {}]
    byte_level = False
    while parts:
        part = parts.pop()
        parts += [*part.get("pretokenizers", ()), *part.get("processors", ())]
        if part.get("add_prefix_space") is False:
            part["add_prefix_space"] = True
            byte_level |= part.get("type") == "ByteLevel"
    if not byte_level:
        return backend, False
    return type(backend).from_str(json.dumps(state)), True
