"""Benchmarks: flaxner and torch side by side, alternating in one process."""
