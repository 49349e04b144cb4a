"""Citation for DeBERTa, in BibTeX."""

from __future__ import annotations

CITATION = """\
@inproceedings{he-etal-2021-deberta,
  title = "{DeBERTa}: Decoding-enhanced {BERT} with Disentangled Attention",
  author = "He, Pengcheng and Liu, Xiaodong and Gao, Jianfeng and Chen, Weizhu",
  booktitle = "International Conference on Learning Representations",
  year = "2021",
  url = "https://openreview.net/forum?id=XPZIaotutsD"
}"""
