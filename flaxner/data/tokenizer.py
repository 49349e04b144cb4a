"""Load, check and save fast tokenizers, and prepare them for words."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from flaxner.files import read_json, write_json
from flaxner.wording import first_line

SPACED = (
    "the tokenizer now puts a space before every word, as in running text, and will be published "
    "that way"
)
WRAPPED = (
    "the tokenizer now puts {} and {} around a text, as training does (before: {}), and will be "
    "published that way"
)
SHORTEST = 8  # tokens that a model must at least be able to read, including [CLS] and [SEP]


def _is_news(record: logging.LogRecord) -> bool:
    """Drop the warning of `transformers` about a missing PyTorch, which is not needed here."""
    return not record.getMessage().startswith("PyTorch was not found")


logging.getLogger("transformers").addFilter(_is_news)


def load_tokenizer(folder: str | Path, *, revision: str | None = None) -> Any:
    """Load the fast tokenizer of a model folder, or of a Hub model at a revision.

    No code from the folder is run: a tokenizer that needs its own code is refused.

    Raises:
      ValueError: there is no tokenizer, it has no fast version, or its files are invalid.
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
        first = first_line(error)
        if "trust_remote_code" in str(error):
            first = "it needs its own code (auto_map), and flaxner never runs a model's code"
        raise ValueError(f"{folder} has no loadable tokenizer: {first}") from error
    require_fast(tokenizer, str(folder))
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer's files so that `transformers` 4 loads them, too.

    Version 5 gave a class and a list of tokens new names, which version 4 fails on; version 5 also
    reads the former names.
    """
    tokenizer.save_pretrained(str(folder))
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_json(path, settings)


def _check_settings(path: Path) -> None:
    """Refuse a tokenizer_config.json with values of types that `transformers` does not accept."""
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
            raise ValueError(f"{name} in {path} must be {words}: got {str(value)[:40]!r}")


def require_fast(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that cannot map tokens to words.

    Raises:
      ValueError: the tokenizer is slow, or lacks [CLS] or [SEP].
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"the tokenizer of {source} is slow ({type(tokenizer).__name__}): flaxner needs a fast "
            f"one; save it with a tokenizer.json"
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{source} has no tokenizer: the one created for it has no vocabulary")
    length_limit(tokenizer, UNLIMITED, source)
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise ValueError(f"the tokenizer of {source} lacks [CLS] or [SEP] tokens")


def check_vocabulary(tokenizer: Any, size: int, source: str) -> None:
    """Refuse a tokenizer with a token for which the model's embedding table has no row.

    Raises:
      ValueError: the tokenizer belongs to another model.
    """
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= size:
        raise ValueError(
            f"the tokenizer has {max(len(tokenizer), largest + 1)} entries, but the vocabulary of "
            f"{source} has {size}: they belong to different models"
        )


UNLIMITED = 1_000_000  # from here on `transformers` means that there is no model_max_length


def length_limit(tokenizer: Any, most: int, source: str = "the model") -> int:
    """Return the maximum number of tokens in a segment, including special tokens.

    Args:
      tokenizer: from `transformers`; a missing or huge `model_max_length` means no limit.
      most: the model's own limit, which applies if it is lower.
      source: where the tokenizer came from.

    Raises:
      ValueError: the tokenizer's limit is not a number of tokens, or is too small.
    """
    said = getattr(tokenizer, "model_max_length", None)
    if said is None:
        return most
    number = isinstance(said, int | float) and not isinstance(said, bool) and said >= SHORTEST
    if not number or (said < UNLIMITED and said != int(said)):
        raise ValueError(
            f"model_max_length of the tokenizer of {source} must be a number of tokens, "
            f"{SHORTEST} or more: got {said!r}"
        )
    return int(min(said, most))


def plain_backend(tokenizer: Any) -> Any:
    """Return a copy of the Rust tokenizer without truncation or padding, whatever its file says."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def words_backend(tokenizer: Any) -> Any:
    """Like `plain_backend`, for input that is already split into words.

    Byte-level tokenizers, and others that keep spaces, recognise the beginning of a word by the
    space before it, which such words lack: they are made to add one.
    """
    backend = _spaced(plain_backend(tokenizer))
    backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
    return backend


def special_tokens(backend: Any, known: int) -> tuple[list[int], list[int]]:
    """Return the ids of the tokens that a tokenizer puts before and after a text, if any.

    Args:
      backend: a Rust tokenizer that neither truncates nor pads.
      known: the id of a special token.
    """
    split, backend.encode_special_tokens = backend.encode_special_tokens, False
    # A special token typed in a text is one of its tokens; a vocabulary may lack any letter.
    probe = backend.encode(backend.id_to_token(known))
    backend.encode_special_tokens = split
    mask = probe.special_tokens_mask
    return probe.ids[: mask.index(0)], probe.ids[len(mask) - mask[::-1].index(0) :]


def read_as_trained(tokenizer: Any) -> list[str]:
    """Make a tokenizer read texts as training reads words; what it changes is saved with it.

    Returns:
      the changes, one sentence each.
    """
    spaced = give_prefix_space(tokenizer)
    before = give_special_tokens(tokenizer)
    wrapped = WRAPPED.format(tokenizer.cls_token, tokenizer.sep_token, before or "nothing")
    return [*([SPACED] if spaced else []), *([wrapped] if before is not None else [])]


def give_special_tokens(tokenizer: Any) -> str | None:
    """Make a tokenizer put [CLS] and [SEP] around a text; the setting is saved with it.

    Training does so, and users of the published tokenizer must read texts the same way.

    Returns:
      the special tokens that it put there before; None if nothing was changed.
    """
    from tokenizers import processors

    own = plain_backend(tokenizer).encode("").tokens
    wanted = [tokenizer.cls_token, tokenizer.sep_token]
    if own == wanted:
        return None
    backend = tokenizer.backend_tokenizer
    part = json.loads(backend.to_str())["post_processor"] or {}
    kept = [
        processors.ByteLevel(one["add_prefix_space"], one["trim_offsets"], one["use_regex"])
        for one in (part, *part.get("processors", ()))
        if one.get("type") == "ByteLevel"
    ]
    ids = zip(wanted, (tokenizer.cls_token_id, tokenizer.sep_token_id), strict=True)
    cls, sep = wanted
    template = processors.TemplateProcessing(
        single=[f"{cls}:0", "$A:0", f"{sep}:0"],
        pair=[f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
        special_tokens=list(ids),
    )
    backend.post_processor = processors.Sequence([*kept, template])
    for name in ("add_bos_token", "add_eos_token"):  # with these, `transformers` makes its own
        tokenizer.init_kwargs.pop(name, None)
    return " ".join(own)


def give_prefix_space(tokenizer: Any) -> bool:
    """Make a tokenizer put a space before pre-split words; the setting is saved with it.

    Training sees single words, and users of the published tokenizer must split them the same way.

    Returns:
      whether the setting was changed.
    """
    backend = _spaced(tokenizer.backend_tokenizer)
    if backend is tokenizer.backend_tokenizer:
        return False
    tokenizer._tokenizer = backend
    if (json.loads(backend.to_str())["pre_tokenizer"] or {}).get("add_prefix_space"):
        tokenizer.add_prefix_space = True
        tokenizer.init_kwargs["add_prefix_space"] = True
    return True


def _spaced(backend: Any) -> Any:
    """Make a tokenizer put a space before a text; return it unchanged if words do not need that.

    One that is byte-level alone has a setting for it. Where other parts split the text first, that
    setting would put a space before every part of a word, so the normalizer adds it.
    """
    from tokenizers import normalizers

    if not _runs_together(backend):
        return backend
    state = json.loads(backend.to_str())
    parts = [state.get("post_processor") or {}]
    alone = (state["pre_tokenizer"] or {}).get("type") == "ByteLevel"
    parts += [state["pre_tokenizer"]] if alone else []
    while parts:
        part = parts.pop()
        parts += part.get("processors", ())
        if part.get("add_prefix_space") is False:  # in a post-processor, it is about offsets
            part["add_prefix_space"] = True
    spaced = type(backend).from_str(json.dumps(state))
    if not alone:
        own = [spaced.normalizer] if spaced.normalizer is not None else []
        spaced.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *own])
    return spaced


def _runs_together(backend: Any) -> bool:
    """Whether only a space within a text marks the beginning of a word, not that of the text."""

    def pieces(text: str) -> list[str]:
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        if backend.pre_tokenizer is None:
            return [text]
        return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    two, spaced = pieces("a a"), pieces(" a")
    return two[-1] != "a" and "".join(two) == "a" + "".join(spaced) and spaced != ["a"]
