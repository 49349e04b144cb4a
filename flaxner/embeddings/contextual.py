"""One vector per occurrence: BERT's hidden states, layers averaged, tokens pooled into words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.data.batches import evaluation_batches
from flaxner.data.corpus import Sentence
from flaxner.data.segments import Segments, align
from flaxner.data.tokenizer import words_backend
from flaxner.models.network import Model, Params
from flaxner.training.step import INPUTS

ROWS = 16  # packed rows per batch


def parse_layers(text: str, layers: int) -> tuple[int, ...]:
    """Parse "mean" (all layers but the embeddings), "last", or numbers such as 0, 4 or -1,-2.

    Layer 0 is the embeddings, 1 the first layer; negative numbers count from the last.

    Raises:
      ValueError: no such layer.
    """
    if text == "mean":
        return tuple(range(1, layers + 1))
    if text == "last":
        return (layers,)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--layers must be mean, last or comma-separated numbers: got {text!r}"
        ) from None
    chosen = [number if number >= 0 else layers + 1 + number for number in numbers]
    if not all(0 <= number <= layers for number in chosen):
        raise ValueError(f"--layers must be from {-layers - 1} to {layers}: got {text!r}")
    return tuple(dict.fromkeys(chosen))


class ContextualEncoder:
    """Encodes the words of sentences as vectors, and remembers those of each sentence.

    Args of the constructor, also attributes:
      name: shown in tables.
      model: static definition.
      params: path -> array.
      tokenizer: of `transformers`.
      layers: layers whose hidden states are averaged.
      max_length: tokens per window; longer sentences are split into windows.
      pooling: the "mean" of a word's tokens, or the "first".
    """

    def __init__(
        self,
        name: str,
        model: Model,
        params: Params,
        tokenizer: Any,
        layers: tuple[int, ...],
        max_length: int = 128,
        pooling: str = "mean",
    ) -> None:
        self.name, self.model, self.params, self.tokenizer = name, model, params, tokenizer
        self.layers, self.max_length, self.pooling = layers, max_length, pooling
        self._known: dict[tuple[str, ...], np.ndarray] = {}  # words of a sentence -> vectors
        self._states = jax.jit(self._mean_of_layers)

    def encode(self, sentences: Sequence[Sentence]) -> np.ndarray:
        """Return a vector for every word, (words of all sentences, width), float32.

        Sentences encoded before are not computed again.
        """
        new = list({s.words: s for s in sentences if s.words not in self._known}.values())
        if new:
            ends = np.cumsum([len(s.words) for s in new])
            parts = np.split(self._encode(new), ends[:-1])
            self._known.update(zip((s.words for s in new), parts, strict=True))
        empty = np.zeros((0, self.model.config.hidden_size), np.float32)
        return np.concatenate([empty, *(self._known[s.words] for s in sentences)])

    def _encode(self, sentences: Sequence[Sentence]) -> np.ndarray:
        segments = align(sentences, self.tokenizer, None, self.max_length)
        if self.pooling == "mean":
            segments = dataclasses.replace(segments, words=self._owners(segments, sentences))
        width = self.model.config.hidden_size
        sums = np.zeros((segments.num_words, width), np.float32)
        counts = np.zeros(segments.num_words, np.int32)
        for rows in evaluation_batches(segments, self.max_length, ROWS):
            hidden_BLD = np.asarray(
                self._states(self.params, *(jnp.asarray(getattr(rows, name)) for name in INPUTS))
            )
            owned_BL = rows.words >= 0
            owners, hidden = rows.words[owned_BL], hidden_BLD[owned_BL]
            if not len(owners):
                continue
            starts = np.flatnonzero(np.diff(owners, prepend=-1))  # a word's tokens are adjacent
            sums[owners[starts]] = np.add.reduceat(hidden, starts, axis=0)
            counts[owners[starts]] = np.diff(starts, append=len(owners))
        assert (counts > 0).all(), "a word was never encoded"
        return sums / counts[:, None]

    def _mean_of_layers(self, params: Params, *inputs: jax.Array) -> jax.Array:
        hidden = self.model.hidden_states(params, *inputs)
        return jnp.mean(jnp.stack([hidden[i].astype(jnp.float32) for i in self.layers]), 0)

    def _owners(self, segments: Segments, sentences: Sequence[Sentence]) -> np.ndarray:
        """Return the word of every token; `Segments.words` has it for first tokens only."""
        owners = segments.words.copy()
        for low, high in zip(segments.starts[:-1], segments.starts[1:], strict=True):
            inner = owners[low : high - 1]  # a view; [SEP] stays out
            firsts = np.flatnonzero(inner >= 0)
            if not len(firsts):
                continue
            at = np.searchsorted(firsts, np.arange(len(inner)), side="right") - 1
            inner[:] = np.where(at >= 0, inner[firsts[np.maximum(at, 0)]], -1)
        self._cut_foreign(owners, segments, [w for s in sentences for w in s.words])
        return owners

    def _cut_foreign(self, owners: np.ndarray, segments: Segments, words: list[str]) -> None:
        """Exclude tokens after a window's last owned word: other windows own their words."""
        backend = words_backend(self.tokenizer)
        several = np.bincount(segments.sentences, minlength=1)[segments.sentences] > 1
        for index in np.flatnonzero(several):
            low, high = segments.starts[index], segments.starts[index + 1] - 1
            last = int(owners[high - 1])
            if last >= 0:
                last_word = [words[last]]
                encoding = backend.encode(last_word, is_pretokenized=True, add_special_tokens=False)
                own = len(encoding.ids)
                first = low + int(np.flatnonzero(owners[low:high] == last)[0])
                owners[first + max(own, 1) : high] = -1
