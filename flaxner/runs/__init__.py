"""The output folder of a run: checkpoints, manifest, metrics log, lock."""
