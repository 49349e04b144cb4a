"""Ahead of time: a run compiled for machines that are not there."""
