"""BERT: settings, network, weight names, well-known sizes."""

from flaxner.models.bert.citation import CITATION
from flaxner.models.bert.config import BertConfig
from flaxner.models.bert.network import BertForTokenClassification
from flaxner.models.bert.sizes import KNOWN, TINY
from flaxner.models.bert.weights import NAMES
from flaxner.models.layers.encoder import Encoder
from flaxner.models.layers.post_norm_graph import post_norm_graph

ENCODER = Encoder(
    BertConfig,
    BertForTokenClassification,
    NAMES,
    "BertForTokenClassification",
    KNOWN,
    TINY,
    "wordpiece",
    "BERT",
    CITATION,
    post_norm_graph,
)
