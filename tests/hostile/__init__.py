"""Generators of what may come from outside, and of what may lie around where flaxner writes."""
