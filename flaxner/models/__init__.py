"""Encoders, their weight-name tables, config.json, loading.

Outside this package, a model is a `Model`, which is static and hashable, plus a flat dict of
parameters, path -> array. NNX is used only inside.
"""
