"""The tokenizer of a model: the one that is given, or that of its folder; it must fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flaxner.data.kept_tokenizer import open_tokenizer
from flaxner.data.tokenizer import check_vocabulary, require_fast


def fitting_tokenizer(tokenizer: Any, folder: Path | None, vocab_size: int, name: str) -> Any:
    """A fast tokenizer that fits a model.

    Args:
      tokenizer: a tokenizer, its folder or Hub name; that of the model's folder if None.
      folder: of the model; None of a model in memory.
      vocab_size: rows of the model's token table.
      name: of the model, for messages.

    Raises:
      ValueError: there is none, it is slow, or of another model.
    """
    if tokenizer is None and folder is None:
        raise ValueError("a model given as an object needs a tokenizer beside it")
    if tokenizer is None or isinstance(tokenizer, str | os.PathLike):
        tokenizer = open_tokenizer(str(tokenizer or folder))
    require_fast(tokenizer, name)
    check_vocabulary(tokenizer, vocab_size, name)
    return tokenizer
