"""The folder of a run: checkpoints, manifest, metrics log, lock."""
