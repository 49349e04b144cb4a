"""Citation for BERT, in BibTeX."""

from __future__ import annotations

CITATION = """\
@inproceedings{devlin-etal-2019-bert,
  title = "{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding",
  author = "Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
  booktitle = "Proceedings of NAACL-HLT 2019",
  year = "2019",
  pages = "4171--4186",
  doi = "10.18653/v1/N19-1423"
}"""
