"""Train new tokenizers for models that start from random weights, one trainer for each kind.

The same texts give the same vocabulary on any machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_wordpiece(texts: Iterable[str], vocab_size: int, *, lowercase: bool = False) -> Any:
    """Train a WordPiece tokenizer (Schuster and Nakajima 2012) like BERT's.

    Args:
      texts: sentences of the training corpus.
      vocab_size: maximum number of entries.
      lowercase: lower-case the input, as uncased models do.
    """
    from tokenizers import models
    from tokenizers.trainers import WordPieceTrainer
    from transformers import BertTokenizer

    texts = list(texts)
    learner = _bert_backend(models.WordPiece(unk_token="[UNK]"), lowercase)
    letters = sorted({c for text in texts for c in learner.normalizer.normalize_str(text)})
    # The trainer numbers the inner letters in hash table order, which differs from run to run, and
    # breaks ties by those numbers. Passing them as special tokens imposes our order.
    inner = [f"##{letter}" for letter in letters if not letter.isspace()]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*BERT_TOKENS, *inner], show_progress=False
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
    ids = [BERT_TOKENS.index(token) for token in ("[SEP]", "[CLS]")]
    backend.post_processor = processors.BertProcessing(("[SEP]", ids[0]), ("[CLS]", ids[1]))
    return backend


ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_byte_bpe(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016; Radford et al. 2019) like RoBERTa's.

    It puts a space before pre-split words. Its vocabulary has at least the 256 bytes.

    Args:
      texts: sentences of the training corpus.
      vocab_size: maximum number of entries.
    """
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import RobertaTokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(ROBERTA_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]
    merges: Any = [tuple(merge) for merge in learnt["merges"]]  # its annotation says text
    return RobertaTokenizer(vocab=learnt["vocab"], merges=merges, add_prefix_space=True)


def train_unigram(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a Unigram tokenizer (Kudo 2018) like XLM-RoBERTa's: split at white space, then at "▁".

    Args:
      texts: sentences of the training corpus.
      vocab_size: maximum number of entries.
    """
    from tokenizers import pre_tokenizers
    from transformers import XLMRobertaTokenizer

    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    return XLMRobertaTokenizer(vocab=_unigram(texts, vocab_size, ROBERTA_TOKENS, splitter))


def train_deberta_unigram(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a Unigram tokenizer like DeBERTa-v3's: the space before a word belongs to its token.

    Args:
      texts: sentences of the training corpus.
      vocab_size: maximum number of entries.
    """
    from tokenizers import pre_tokenizers
    from transformers import DebertaV2Tokenizer

    tokens = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
    return DebertaV2Tokenizer(
        vocab=_unigram(texts, vocab_size, tokens, pre_tokenizers.Metaspace()), unk_id=3
    )


def _unigram(
    texts: Iterable[str], vocab_size: int, special: tuple[str, ...], splitter: Any
) -> list[tuple[str, float]]:
    """Return pieces and log-probabilities, special tokens first; the fourth is the unknown token.

    The pieces come from byte pair encoding. The Unigram trainer of `tokenizers` draws its
    candidates from each distinct word once: frequent words that are not part of others ("▁and")
    would be spelt letter by letter, while names would become pieces.
    """
    from tokenizers import Tokenizer, models
    from tokenizers.trainers import BpeTrainer

    texts = list(texts)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = splitter
    trainer = BpeTrainer(vocab_size=vocab_size - len(special), show_progress=False)
    learner.train_from_iterator(texts, trainer)
    counts = Counter(dict.fromkeys(learner.get_vocab(), 0))
    for encoding in learner.encode_batch(texts):
        counts.update(encoding.tokens)
    total = counts.total()
    # A piece that occurs only as part of longer ones counts as seen once.
    scores = {piece: round(math.log(max(n, 1) / total), 6) for piece, n in counts.items()}
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [*((token, 0.0) for token in special), *ordered]
