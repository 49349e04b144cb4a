"""Experiment trackers: what a run reports to them during training and at the end."""
