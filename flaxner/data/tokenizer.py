"""Fast tokenizers: loaded, checked, trained. The only door to `transformers`' tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def load_tokenizer(folder: str | Path, *, revision: str | None = None) -> Any:
    """The fast tokenizer of a model folder, or of a Hub model at a revision.

    Raises:
      ValueError: there is none, or it has no fast form.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), revision=revision or "main")
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ValueError(
            f"{folder} has no tokenizer that loads: {str(error).splitlines()[0]}"
        ) from error
    require_fast(tokenizer, str(folder))
    return tokenizer


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
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise ValueError(f"the tokenizer of {source} has no [CLS] and [SEP] tokens")


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
    found = []
    for start, end in places.values():
        piece = text[start:end]  # SentencePiece counts the space before a word in
        start, end = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        if start < end:
            found.append((start, end))
    return found
