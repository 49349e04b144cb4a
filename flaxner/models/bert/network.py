"""BERT for token classification in Flax NNX (Devlin et al. 2019, arXiv:1810.04805).

The computation follows `transformers`' PyTorch `BertForTokenClassification`, so that weights
move both ways without change. Two things are ours: attention is limited to the segment a
position belongs to, so that packed rows are exact, and dropout takes an explicit key, so that
a step is a pure function of its arguments.
"""

from __future__ import annotations

from flaxner.models.layers.post_norm import PostNormClassifier


class BertForTokenClassification(PostNormClassifier):
    """BERT with a linear classifier on every position.

    Args of the constructor:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """
