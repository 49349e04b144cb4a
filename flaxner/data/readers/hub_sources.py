"""Where data sets are on the Hub: well-known names, and repositories that can be read."""

from __future__ import annotations

from typing import NamedTuple

PARQUET = "refs/convert/parquet"  # the branch to which the Hub converts data sets


class Source(NamedTuple):
    """Where a data set is read from: repository, configuration, revision."""

    repository: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        config = f", configuration {self.config}" if self.config else ""
        return self.repository + config + (f", at {self.revision}" if self.revision else "")


# Well-known names: the Parquet branch of a loading script, then copies that need no script.
KNOWN: dict[str, tuple[Source, ...]] = {
    "conll2003": (
        Source("eriktks/conll2003", "conll2003", PARQUET),
        Source("lhoestq/conll2003"),
        Source("tomaarsen/conll2003"),
    ),
    "conllpp": (Source("ZihanWangKi/conllpp", None, PARQUET), Source("tomaarsen/conllpp")),
    "wnut_17": (
        Source("leondz/wnut_17", "wnut_17", PARQUET),
        Source("flaitenberger/wnut_17"),
    ),
    "wikiann": (Source("unimelb-nlp/wikiann"),),
    "few-nerd": (Source("DFKI-SLT/few-nerd", "supervised"),),
}
NAMES = ", ".join(KNOWN)
KNOWN |= {sources[0].repository: sources for sources in KNOWN.values()}
