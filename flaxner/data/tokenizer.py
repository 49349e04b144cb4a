"""Fast tokenizers: loaded, checked, trained. The only door to `transformers`' tokenizers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
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


SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(texts: Iterable[str], vocab_size: int, *, lowercase: bool = False) -> Any:
    """A new WordPiece tokenizer (Schuster and Nakajima 2012), as BERT's, from texts.

    Equal texts give equal vocabularies on any machine.

    Args:
      texts: sentences of the training corpus.
      vocab_size: at most so many entries.
      lowercase: fold case, as uncased models do.
    """
    from tokenizers import models
    from tokenizers.trainers import WordPieceTrainer
    from transformers import BertTokenizer

    texts = list(texts)
    learner = _bert_backend(models.WordPiece(unk_token="[UNK]"), lowercase)
    letters = sorted({c for text in texts for c in learner.normalizer.normalize_str(text)})
    # The trainer numbers the inner letters in the order of a hash table, which differs from run
    # to run, and breaks ties by those numbers. Given as special tokens they come in our order.
    inner = [f"##{letter}" for letter in letters if not letter.isspace()]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *inner], show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    used = learner.get_vocab()
    tokens = sorted(used, key=used.__getitem__)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = _bert_backend(models.WordPiece(vocabulary, unk_token="[UNK]"), lowercase)
    return BertTokenizer(tokenizer_object=backend, do_lower_case=lowercase)


def _bert_backend(model: Any, lowercase: bool) -> Any:
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors

    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    ids = [SPECIAL_TOKENS.index(token) for token in ("[SEP]", "[CLS]")]
    backend.post_processor = processors.BertProcessing(("[SEP]", ids[0]), ("[CLS]", ids[1]))
    return backend


def plain_backend(tokenizer: Any) -> Any:
    """A copy of the Rust tokenizer that neither cuts nor pads, whatever its file says."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    return backend


def words_of(backend: Any, text: str) -> list[tuple[int, int]]:
    """Half-open character ranges of the words that a tokenizer sees in a text.

    Normalising is part of it: BERT's makes every ideograph a word, which its splitting alone
    does not. Characters that it removes belong to no word unless they stand within one.

    Args:
      backend: of `plain_backend`.
      text: a text.
    """
    encoding = backend.encode(text, add_special_tokens=False)
    places: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word is not None:
            first, last = places.get(word, (start, end))
            places[word] = (min(first, start), max(last, end))
    words = []
    for start, end in places.values():
        piece = text[start:end]  # SentencePiece counts the space before a word in
        start, end = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if start < end:
            words.append((start, end))
    return words
