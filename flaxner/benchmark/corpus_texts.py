"""The texts that the pipeline and the server are timed on: sentences of a corpus file."""

from __future__ import annotations

import argparse

from flaxner.data.readers import OF_FILES, ReadOptions


def corpus_texts(arguments: argparse.Namespace) -> list[str]:
    """Return the sentences of `--file`, words joined by spaces, read as the flags say.

    Raises:
      ValueError: the file cannot be read.
    """
    from flaxner.data.corpus import read_corpus

    options = ReadOptions(**{k: v for k, v in vars(arguments).items() if k in OF_FILES})
    return [" ".join(s.words) for s in read_corpus(arguments.file, options=options)]
