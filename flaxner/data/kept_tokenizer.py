"""Load a folder's tokenizer without importing `transformers`, from a cache of its earlier result.

`transformers` may override what tokenizer.json says (its classes set some parts themselves) and
takes a second or two to import. So its result is cached rather than imitated: the state of the Rust
tokenizer and the few numbers that inference needs, keyed by a digest of the folder's files and the
library versions.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxner.data.tokenizer import load_tokenizer
from flaxner.files import kept, read_json, write_json

FORMAT = 1  # increase when NUMBERS changes
KIND = "tokenizers"  # the folder of cached tokenizers
MOST_BYTES = 1 << 30
STATE, FACTS = "tokenizer.json", "facts.json"
NUMBERS = (
    "cls_token_id",
    "sep_token_id",
    "unk_token_id",
    "pad_token_id",
    "all_special_ids",
    "model_max_length",
    "truncation_side",
    "split_special_tokens",
)


class KeptTokenizer:
    """What inference needs of a tokenizer; everything else is delegated to `transformers`' own.

    Once that one has been loaded because someone accessed it, everything is delegated to it, so
    changes made to it take effect here.

    Args:
      folder: the model folder, from which `transformers` loads.
      backend: the Rust tokenizer.
      facts: its NUMBERS and its length.
    """

    is_fast = True

    def __init__(self, folder: Path, backend: Any, facts: dict[str, Any]) -> None:
        self._folder, self._backend, self._facts = folder, backend, facts
        self._whole: Any = None
        self._turn = threading.Lock()

    def whole(self) -> Any:
        """Return the tokenizer of `transformers`, loading it if necessary."""
        with self._turn:
            if self._whole is None:
                self._whole = load_tokenizer(self._folder)
            return self._whole

    @property
    def backend_tokenizer(self) -> Any:
        """The Rust tokenizer."""
        return self._backend if self._whole is None else self._whole.backend_tokenizer

    def __len__(self) -> int:
        return self._facts["length"] if self._whole is None else len(self._whole)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked up by copy and pickle before there is a folder
            raise AttributeError(name)
        if name in self._facts and self._whole is None:
            return self._facts[name]
        return getattr(self.whole(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the tokenizer of `transformers`."""
        return self.whole()(*args, **kwargs)

    def __reduce__(self) -> Any:
        return KeptTokenizer, (self._folder, self._backend, self._facts)

    def get_vocab(self) -> dict[str, int]:
        """Return the vocabulary, token -> id."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens of ids."""
        convert = self.backend_tokenizer.id_to_token
        return [convert(number) for number in ids]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Return the text of tokens, using the tokenizer's decoder."""
        decoder = self.backend_tokenizer.decoder
        return decoder.decode(tokens) if decoder is not None else " ".join(tokens)


def open_tokenizer(folder: str | Path) -> Any:
    """Open the tokenizer of a model folder, from the cache if it was loaded before.

    Args:
      folder: the model folder; a Hub name is passed to `transformers`.

    Raises:
      ValueError: see `tokenizer.load_tokenizer`.
    """
    place = kept.cache_folder(KIND)
    if place is None or not Path(folder).is_dir():
        return load_tokenizer(folder)
    key = _key(Path(folder))
    if (at := kept.find(place, key)) is None:
        tokenizer = load_tokenizer(folder)
        with contextlib.suppress(OSError, TypeError):  # no space, or facts that are not JSON
            kept.keep(place, key, lambda draft: _write(draft, tokenizer), MOST_BYTES)
        return tokenizer
    from tokenizers import Tokenizer

    return KeptTokenizer(Path(folder), Tokenizer.from_file(str(at / STATE)), read_json(at / FACTS))


def _key(folder: Path) -> str:
    """Return a digest of everything that `transformers` may read, and of the library versions."""
    versions = [importlib.metadata.version(name) for name in ("transformers", "tokenizers")]
    patterns = ("*.json", "*.txt", "*.model", "*.jinja")
    files = {path for one in patterns for path in folder.glob(one) if path.is_file()}
    return kept.key_of((FORMAT, *versions), sorted(files))


def _write(draft: Path, tokenizer: Any) -> None:
    (draft / STATE).write_text(tokenizer.backend_tokenizer.to_str(), "utf-8")
    facts = {name: getattr(tokenizer, name, None) for name in NUMBERS}
    write_json(draft / FACTS, facts | {"length": len(tokenizer)})
