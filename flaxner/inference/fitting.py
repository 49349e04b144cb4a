"""Finds a model's tokenizer, given or in its folder, and checks that it fits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flaxner.data.kept_tokenizer import open_tokenizer
from flaxner.data.tokenizer import check_vocabulary, require_fast


def fitting_tokenizer(tokenizer: Any, folder: Path | None, vocab_size: int, name: str) -> Any:
    """Return a fast tokenizer that fits a model.

    Args:
      tokenizer: a tokenizer, its folder or its Hub name; the model's own if None.
      folder: the model's folder; None for a model in memory.
      vocab_size: number of rows in the model's token table.
      name: of the model, for messages.

    Raises:
      ValueError: there is none, or it is slow or belongs to another model.
    """
    if tokenizer is None and folder is None:
        raise ValueError("a model in memory has no tokenizer of its own: pass tokenizer=")
    if tokenizer is None or isinstance(tokenizer, str | os.PathLike):
        tokenizer = open_tokenizer(str(tokenizer or folder))
    require_fast(tokenizer, name)
    check_vocabulary(tokenizer, vocab_size, name)
    return tokenizer
