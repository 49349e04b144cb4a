"""Generators of untrusted input, and of other people's files where flaxner writes."""
