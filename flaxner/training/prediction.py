"""Predict a tag for every word of a corpus, and score the predictions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from flaxner.data.batches import evaluation_batches
from flaxner.data.corpus import Corpus
from flaxner.data.documents import DocumentSegments
from flaxner.data.segments import Segments
from flaxner.data.tag_rules import rules
from flaxner.devices.mesh import place_batch, to_host
from flaxner.devices.processes import this_part
from flaxner.evaluation.metrics import NerReport, score
from flaxner.inference.units import Decoding, read_words
from flaxner.models.crf import NAME as CRF
from flaxner.models.crf import PREFIX, Scores
from flaxner.models.network import Params
from flaxner.training.preparation import Prepared
from flaxner.training.step import INPUTS, Batch, Steps

Tags = list[list[str]]
Advance = Callable[[int], None]


def for_each_word(
    program: Callable[[Any], jax.Array],
    segments: Segments,
    mesh: Mesh,
    *,
    row_length: int,
    num_rows: int,
    advance: Advance = lambda done: None,
) -> np.ndarray:
    """Return the output of a program for every word of a corpus.

    Args:
      program: batch -> labels (B, L) or logits (B, L, C).
      segments: the tokenised corpus.
      mesh: axes (data, fsdp).
      row_length: tokens per row.
      num_rows: rows per batch, over all devices.
      advance: called with the number of words just processed.

    Returns:
      Labels (W,) or logits (W, C), in corpus order, the same on every process.

    Raises:
      RuntimeError: a word was predicted twice or never, which is a bug.
    """
    told = np.zeros(segments.num_words, bool)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    pending: list[tuple[np.ndarray, jax.Array]] = []
    scored = 0

    def collect() -> int:
        words_BL, predicted_BL = pending.pop(0)
        owned_BL = words_BL >= 0
        words = words_BL[owned_BL]
        parts.append((words, np.asarray(predicted_BL)[owned_BL]))
        told[words] = True
        count = int(owned_BL.sum())
        advance(count)
        return count

    part = this_part()
    for rows in evaluation_batches(segments, row_length, num_rows):
        own = num_rows // part.count
        mine = slice(part.index * own, (part.index + 1) * own)
        batch = place_batch({name: getattr(rows, name)[mine] for name in INPUTS}, mesh)
        pending.append((rows.words, program(batch)))
        if len(pending) > 1:  # read the previous batch while the device computes this one
            scored += collect()
    while pending:
        scored += collect()
    if scored != segments.num_words or not told.all():
        raise RuntimeError(f"{scored} predictions were made for {segments.num_words} words")
    if not parts:
        return np.zeros(0, np.int32)
    found = np.empty((scored, *parts[0][1].shape[1:]), parts[0][1].dtype)
    for words, values in parts:
        found[words] = values
    return found


def tags_by_sentence(labels: np.ndarray, sizes: Sequence[int], tags: Sequence[str]) -> Tags:
    """Convert the labels of a corpus to the tags of each sentence."""
    flat = [tags[label] for label in labels.tolist()]
    ends = np.cumsum(sizes).tolist()
    return [flat[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def score_labels(labels: np.ndarray, corpus: Corpus, tags: Sequence[str]) -> tuple[NerReport, Tags]:
    """Return scores and the tags of each sentence, from one label per word in corpus order."""
    predicted = tags_by_sentence(labels, [len(sentence.words) for sentence in corpus], tags)
    gold = [list(sentence.tags or ()) for sentence in corpus]
    return score(gold, predicted, words_in_corpus=corpus.words), predicted


class Judge:
    """Scores parameters on the splits of a run, over all its devices."""

    def __init__(self, prepared: Prepared, steps: Steps, mesh: Mesh) -> None:
        self.prepared, self.steps, self.mesh = prepared, steps, mesh
        self.rows = self._rows()

    def _rows(self) -> int:
        """Return the rows per evaluation batch: the same for all splits, so one compilation."""
        config, devices = self.prepared.config, self.mesh.size
        most = max(
            -(-int(segments.lengths.sum()) // config.row_length) + 1
            for split, segments in self.prepared.segments.items()
            if split != "train" or len(self.prepared.segments) == 1
        )
        return -(-min(config.eval_batch_size, most) // devices) * devices

    def score(
        self, split: str, params: Any, advance: Advance = lambda done: None
    ) -> tuple[NerReport, Tags]:
        """Return the report and the predicted tags, the same in every process."""
        segments = self.prepared.segments[split]
        found = self._for_each_word(self.steps.predict, params, segments, advance)
        if found.ndim == 2:  # logits, for the CRF to decode
            found, _ = self.decode(split, found, self.scores(params))
        return self.report(split, found)

    def score_alone(self, split: str, params: Any, scores: Scores | None) -> dict[str, float]:
        """Return the overall scores of a split in documents, given one sentence at a time."""
        segments = self.prepared.segments[split]
        assert isinstance(segments, DocumentSegments)
        labels, _ = self.decode(split, self._logits(params, segments.plain), scores)
        report = self.report(split, labels)[0].to_dict()
        return {name: value for name, value in report.items() if name.startswith("overall_")}

    def logits(self, split: str, params: Any) -> np.ndarray:
        """Return the logits of every word, float32 (W, C), in corpus order, on every process."""
        return self._logits(params, self.prepared.segments[split])

    def _logits(self, params: Any, segments: Segments) -> np.ndarray:
        of_crf = self.prepared.config.decoder == CRF
        # With a CRF, both programs return logits, and evaluations have compiled the first.
        step = self.steps.predict if of_crf else self.steps.logits
        found = self._for_each_word(step, params, segments)
        return found.astype(np.float32).reshape(-1, len(self.prepared.scheme))

    def _for_each_word(
        self,
        step: Callable[[Params, Batch], jax.Array],
        params: Any,
        segments: Segments,
        advance: Advance = lambda done: None,
    ) -> np.ndarray:
        return for_each_word(
            functools.partial(step, params),
            segments,
            self.mesh,
            row_length=self.prepared.config.row_length,
            num_rows=self.rows,
            advance=advance,
        )

    def scores(self, params: Any) -> Scores | None:
        """Return the scores of the CRF, if the run trains one."""
        if self.prepared.config.decoder != CRF:
            return None
        own = {path: value for path, value in params.items() if path.startswith(PREFIX)}
        return Scores.of(to_host(own, self.mesh))

    def decode(
        self, split: str, logits_WC: np.ndarray, scores: Scores | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels of words and their probabilities (W,), as a pipeline reports them.

        Without scores of a CRF, they are each word's most likely labels.
        """
        corpus, tags = self.prepared.corpora[split], self.prepared.scheme.tags
        borders = np.cumsum([0, *(len(sentence.words) for sentence in corpus)])
        decoding = None if scores is None else Decoding(rules(tags, "IOB2"), scores)
        return read_words(logits_WC, borders, decoding)

    def report(self, split: str, labels: np.ndarray) -> tuple[NerReport, Tags]:
        """Return the report and the tags of a label per word."""
        return score_labels(labels, self.prepared.corpora[split], self.prepared.scheme.tags)
