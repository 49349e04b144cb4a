"""A WordPiece tokenizer small enough for tests."""

import functools

from flaxner.data.tokenizer_training import train_wordpiece

TEXTS = (
    "The headquarters of Google is located in Mountain View , California .",
    "Angela Merkel met Barack Obama in Berlin on Tuesday .",
    "Chelsea beat Barcelona 2-1 at Stamford Bridge in London .",
    "Jordan and Israel signed the treaty in Washington .",
)


@functools.cache
def tiny_tokenizer(vocab_size=99):
    return train_wordpiece(iter(TEXTS * 3), vocab_size)
