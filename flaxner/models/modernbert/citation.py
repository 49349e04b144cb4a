"""Citation for ModernBERT, in BibTeX."""

from __future__ import annotations

CITATION = r"""@article{warner-etal-2024-modernbert,
  title = "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder for Fast, Memory
    Efficient, and Long Context Finetuning and Inference",
  author = "Warner, Benjamin and Chaffin, Antoine and Clavi{\'e}, Benjamin and Weller, Orion and
    Hallstr{\"o}m, Oskar and Taghadouini, Said and Gallagher, Alexis and Biswas, Raja and
    Ladhak, Faisal and Aarsen, Tom and Cooper, Nathan and Adams, Griffin and Howard, Jeremy and
    Poli, Iacopo",
  journal = "arXiv:2412.13663",
  year = "2024"
}"""
