"""Citation for ELECTRA, in BibTeX."""

from __future__ import annotations

CITATION = """\
@inproceedings{clark-etal-2020-electra,
  title = "{ELECTRA}: Pre-training Text Encoders as Discriminators Rather Than Generators",
  author = "Clark, Kevin and Luong, Minh-Thang and Le, Quoc V. and Manning, Christopher D.",
  booktitle = "International Conference on Learning Representations",
  year = "2020",
  url = "https://openreview.net/forum?id=r1xMH1BtvB"
}"""
