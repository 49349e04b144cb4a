"""Citation for DistilBERT, in BibTeX."""

from __future__ import annotations

CITATION = """\
@article{sanh-etal-2019-distilbert,
  title = "{DistilBERT}, a distilled version of {BERT}: smaller, faster, cheaper and lighter",
  author = "Sanh, Victor and Debut, Lysandre and Chaumond, Julien and Wolf, Thomas",
  journal = "arXiv:1910.01108",
  year = "2019"
}"""
