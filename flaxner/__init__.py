"""flaxner: fine-tune BERT for named entity recognition in JAX/Flax."""

__version__ = "0.1.0"
