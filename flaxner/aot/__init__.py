"""Ahead-of-time compilation of a run for machines that are not present."""
