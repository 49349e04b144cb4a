"""BERT: settings, network, weight names, well-known sizes."""

from flaxner.models.bert.citation import CITATION
from flaxner.models.bert.config import BertConfig
from flaxner.models.bert.network import BertForTokenClassification
from flaxner.models.bert.sizes import KNOWN, TINY
from flaxner.models.bert.weights import NAMES
from flaxner.models.layers.encoder import Encoder

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
)
