"""DistilBERT: settings, network, weight names, well-known sizes."""

from flaxner.models.distilbert.citation import CITATION
from flaxner.models.distilbert.config import DistilBertConfig
from flaxner.models.distilbert.network import DistilBertForTokenClassification
from flaxner.models.distilbert.sizes import KNOWN, TINY
from flaxner.models.distilbert.weights import NAMES
from flaxner.models.layers.encoder import Encoder
from flaxner.models.layers.post_norm_graph import post_norm_graph

ENCODER = Encoder(
    DistilBertConfig,
    DistilBertForTokenClassification,
    NAMES,
    "DistilBertForTokenClassification",
    KNOWN,
    TINY,
    "wordpiece",
    "DistilBERT",
    CITATION,
    post_norm_graph,
)
