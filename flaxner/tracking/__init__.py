"""Experiment trackers: what a run tells them while it goes, and at its end."""
