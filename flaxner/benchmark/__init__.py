"""Measurements: flaxner side by side with torch, in one process, alternating."""
