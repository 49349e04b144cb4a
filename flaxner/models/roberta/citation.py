"""Citations for RoBERTa, XLM-R and CamemBERT, in BibTeX."""

from __future__ import annotations

ROBERTA = """\
@article{liu-etal-2019-roberta,
  title = "{RoBERTa}: A Robustly Optimized {BERT} Pretraining Approach",
  author = "Liu, Yinhan and Ott, Myle and Goyal, Naman and Du, Jingfei and Joshi, Mandar and
    Chen, Danqi and Levy, Omer and Lewis, Mike and Zettlemoyer, Luke and Stoyanov, Veselin",
  journal = "arXiv:1907.11692",
  year = "2019"
}"""

XLM_ROBERTA = r"""@inproceedings{conneau-etal-2020-unsupervised,
  title = "Unsupervised Cross-lingual Representation Learning at Scale",
  author = "Conneau, Alexis and Khandelwal, Kartikay and Goyal, Naman and Chaudhary, Vishrav and
    Wenzek, Guillaume and Guzm{\'a}n, Francisco and Grave, Edouard and Ott, Myle and
    Zettlemoyer, Luke and Stoyanov, Veselin",
  booktitle = "Proceedings of ACL 2020",
  year = "2020",
  pages = "8440--8451",
  doi = "10.18653/v1/2020.acl-main.747"
}"""

CAMEMBERT = r"""@inproceedings{martin-etal-2020-camembert,
  title = "{CamemBERT}: a Tasty {French} Language Model",
  author = "Martin, Louis and Muller, Benjamin and Ortiz Su{\'a}rez, Pedro Javier and
    Dupont, Yoann and Romary, Laurent and de la Clergerie, {\'E}ric and Seddah, Djam{\'e} and
    Sagot, Beno{\^\i}t",
  booktitle = "Proceedings of ACL 2020",
  year = "2020",
  pages = "7203--7219",
  doi = "10.18653/v1/2020.acl-main.645"
}"""
