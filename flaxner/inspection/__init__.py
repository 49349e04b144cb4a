"""Inspect a corpus before training on it."""
