"""BERT for token classification in Flax NNX (Devlin et al. 2019, arXiv:1810.04805).

The computation follows `transformers`' PyTorch `BertForTokenClassification`, so weights convert
in both directions without change. It differs in two ways: attention is limited to the segment a
position belongs to, which makes packed rows exact, and dropout takes an explicit key, which makes
a step a pure function of its arguments.
"""

from __future__ import annotations

from flaxner.models.layers.post_norm import PostNormClassifier


class BertForTokenClassification(PostNormClassifier):
    """BERT with a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """
