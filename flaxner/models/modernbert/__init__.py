"""ModernBERT: settings, network, weight names, well-known sizes."""

from flaxner.models.layers.encoder import Encoder
from flaxner.models.modernbert.citation import CITATION
from flaxner.models.modernbert.config import ModernBertConfig
from flaxner.models.modernbert.graph import modernbert_graph
from flaxner.models.modernbert.network import ModernBertForTokenClassification
from flaxner.models.modernbert.sizes import KNOWN, TINY
from flaxner.models.modernbert.weights import NAMES

ENCODER = Encoder(
    ModernBertConfig,
    ModernBertForTokenClassification,
    NAMES,
    "ModernBertForTokenClassification",
    KNOWN,
    TINY,
    "byte_bpe",
    "ModernBERT",
    CITATION,
    modernbert_graph,
)
