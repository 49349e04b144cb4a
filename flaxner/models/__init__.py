"""Encoders, their weight-name tables, config.json, loading.

Above this package a model is a `Model`, which is static and hashable, and a flat dict of
parameters, path -> array. NNX stays below.
"""
