"""A tiny tokenizer of every kind."""

import functools

from flaxner.models.scratch import TOKENIZERS

TEXTS = (
    "John Smith lives in Oslo , near Tarvik .",
    "The Wheeler Corp . of Paris ( France ) hired Ann Lee in May .",
    "Dr . Oda Brenner met the U.N. in New York , N.Y. , on Monday .",
    "Zürich , 東京 and Łódź are cities ; so is São Paulo !",
)
KINDS = tuple(TOKENIZERS)
SMALLEST = {"byte_bpe": 330}  # 256 bytes and a few merges


@functools.cache
def tokenizer_of_kind(kind):
    """Return a tokenizer trained on TEXTS, with pieces of one letter and of several."""
    return TOKENIZERS[kind](TEXTS * 3, SMALLEST.get(kind, 110))
