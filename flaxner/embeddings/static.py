"""One vector per word form: word2vec, GloVe, fastText. Only this module imports `gensim`.

No pickle is loaded: gensim's own .model and .kv files are refused with advice, and a model of
gensim's downloader is fetched as a file, so that no downloaded Python code is run.
"""

from __future__ import annotations

import dataclasses
import gzip
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.wording import first_line

PICKLED = (".model", ".kv", ".pkl", ".pickle", ".npy", ".npz", ".pt", ".ckpt")
FASTTEXT_MAGIC = b"\xba\x16\x4f\x2f"
HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*\n")
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclasses.dataclass(frozen=True)
class StaticVectors:
    """A vector for every word form of a vocabulary.

    Attributes:
      name: name of the vectors, shown in tables.
      words: the vocabulary.
      matrix: (words, width), float32.
      source: file, downloader or training text.
    """

    name: str
    words: tuple[str, ...]
    matrix: np.ndarray
    source: str = ""
    index: Mapping[str, int] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {word: i for i, word in enumerate(self.words)})

    def row(self, word: str) -> int | None:
        """Return the row of a word as written, else in lower case, else None."""
        index = self.index.get(word)
        return self.index.get(word.lower()) if index is None else index

    def vector(self, word: str) -> np.ndarray:
        """Return the vector of a word.

        Raises:
          ValueError: the vocabulary has no such word.
        """
        row = self.row(word)
        if row is None:
            raise ValueError(
                f"the word {word!r} is not in the vocabulary of {self.name} "
                f"({len(self.words):,} words): choose --words that are, or other --vectors"
            )
        return self.matrix[row]

    def neighbours(self, word: str, count: int = 8) -> list[tuple[str, float]]:
        """Return the words with the largest cosine to `word`, and that cosine."""
        query = self.vector(word)
        norms = np.linalg.norm(self.matrix, axis=1) * max(float(np.linalg.norm(query)), 1e-12)
        cosines = self.matrix @ query / np.maximum(norms, 1e-12)
        cosines[self.row(word)] = -np.inf
        best = np.argsort(-cosines, kind="stable")[:count]
        return [(self.words[i], float(cosines[i])) for i in best]


def require_gensim() -> Any:
    """Return the gensim package.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import gensim
    except ImportError as error:
        raise ValueError("static vectors need gensim: pip install 'flaxner[embeddings]'") from error
    return gensim


def load_vectors(source: str, *, limit: int | None = None) -> StaticVectors:
    """Load vectors from a file, or by name from gensim's downloader.

    Args:
      source: a word2vec file (.bin, .txt, .vec, also .gz), a GloVe or fastText text file, or a
        name such as word2vec-google-news-300.
      limit: maximum number of words to read; the files start with the most frequent.

    Raises:
      ValueError: gensim is missing, no such file or name, a pickle, or a damaged file.
    """
    require_gensim()
    path = Path(source)
    looks_like_path = "/" in source or "\\" in source or path.suffix != ""
    if path.exists() or looks_like_path:
        return _read(path, source, limit)
    return _read(_download(source), source, limit)


def _download(name: str) -> Path:
    from gensim import downloader

    cached = Path(downloader.BASE_DIR) / name / f"{name}.gz"
    if cached.is_file():
        return cached
    logging.getLogger(downloader.__name__).disabled = True  # it prints tracebacks of its fallback
    try:
        return Path(downloader.load(name, return_path=True))
    except Exception as error:  # urllib's, socket's, and the downloader's bare Exception
        if "Incorrect" in str(error):
            raise ValueError(
                f"there is no file {name!r}, and gensim's downloader has no vectors of that name; "
                f"it has word2vec-google-news-300, glove-wiki-gigaword-100 and others"
            ) from error
        raise ValueError(
            f"cannot get the vectors {name!r}: there is no such file, and gensim's downloader "
            f"could not be reached; without a network, give a file or use --train-vectors FILE"
        ) from error


def _read(path: Path, name: str, limit: int | None) -> StaticVectors:
    from gensim.models import KeyedVectors

    head = _head(path)
    options: dict[str, Any] = {"limit": limit, "unicode_errors": "replace"}
    header = HEADER.match(head)
    first = head[header.end() if header else 0 :].split(b"\n")[0]
    if b"\t" in first and _numbers_follow(first):  # gensim would take the whole line for a word
        raise ValueError(f"{path} has tabs between the numbers: replace them by spaces")
    if header is None:
        options["no_header"] = True
        if not _numbers_follow(first):
            raise ValueError(
                f"{path} is not a word vector file: its first line must be word2vec's header of "
                f"two numbers, or a word and the numbers of its vector (GloVe)"
            )
    else:
        options["binary"] = not _numbers_follow(first)
    try:
        loaded = KeyedVectors.load_word2vec_format(str(path), **options)
    except (EOFError, ValueError, OSError, IndexError) as error:
        reason = first_line(error)
        if "invalid vector" in reason or "could not convert" in reason:
            reason += "; words with spaces, as in glove.840B, are not supported: delete their lines"
        raise ValueError(f"{path} is truncated or damaged: {reason}") from error
    words = [word for word in loaded.index_to_key if word is not None]  # None: a duplicate
    matrix = np.asarray(loaded.vectors, np.float32)[: len(words)]
    if not len(loaded) or not np.isfinite(matrix).all():
        raise ValueError(f"{path} is damaged: it holds no vectors, or non-finite numbers")
    return StaticVectors(Path(name).name, tuple(words), matrix, "read from a file")


def _head(path: Path) -> bytes:
    """Return the start of a file, unzipped; refuse pickles and fastText's own format."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if path.suffix in PICKLED or magic[:1] == b"\x80":
            raise ValueError(
                f"{path} may be a pickle, which can run code when it is loaded: save it with "
                f"KeyedVectors.save_word2vec_format('vectors.txt.gz') and give that file"
            )
        if magic == FASTTEXT_MAGIC:
            raise ValueError(f"{path} is a fastText binary model: give its .vec file instead")
        zipped = magic[:2] == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as unzipped:
            return unzipped.read(1 << 16)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    except OSError as error:
        raise ValueError(f"cannot read the vectors {path}: {error.strerror or error}") from error


def _numbers_follow(line: bytes) -> bool:
    parts = line.split()
    return len(parts) > 1 and all(NUMBER.fullmatch(part) for part in parts[1:])


def train_vectors(
    sentences: Iterable[Sequence[str]], text: str, *, width: int = 100, seed: int = 0
) -> StaticVectors:
    """Train word2vec on a text (skip-gram, Mikolov et al. 2013); equal texts give equal vectors.

    Raises:
      ValueError: gensim is missing, or no word occurs twice.
    """
    require_gensim()
    from gensim.models import Word2Vec

    texts = [list(words) for words in sentences]
    total = sum(map(len, texts))
    epochs = int(np.clip(2_000_000 // max(total, 1), 5, 40))
    try:
        model = Word2Vec(
            texts, vector_size=width, window=5, min_count=2, sg=1, negative=10, workers=1,
            epochs=epochs, seed=seed,
        )  # fmt: skip
    except RuntimeError as error:
        raise ValueError(f"{text} is too small for word2vec: no word occurs twice") from error
    words, matrix = tuple(model.wv.index_to_key), np.asarray(model.wv.vectors)
    return StaticVectors("word2vec", words, matrix, f"trained on {text}")
