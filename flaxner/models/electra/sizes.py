"""Sizes of well-known ELECTRA models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

from flaxner.models.layers.sizes import sizes

# Hub name -> the sizes in its config.json; every other field has ElectraConfig's default.
KNOWN: dict[str, dict[str, Any]] = {
    "google/electra-small-discriminator": sizes(256, 12, 4, embedding_size=128),
    "google/electra-base-discriminator": sizes(768, 12, 12, embedding_size=768),
    "google/electra-large-discriminator": sizes(1024, 24, 16, embedding_size=1024),
}
TINY: dict[str, Any] = sizes(128, 2, 4, embedding_size=64)
