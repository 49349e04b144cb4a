"""ELECTRA: settings, network, weight names, well-known sizes."""

from flaxner.models.electra.citation import CITATION
from flaxner.models.electra.config import ElectraConfig
from flaxner.models.electra.network import ElectraForTokenClassification
from flaxner.models.electra.sizes import KNOWN, TINY
from flaxner.models.electra.weights import NAMES
from flaxner.models.layers.encoder import Encoder
from flaxner.models.layers.post_norm_graph import post_norm_graph

ENCODER = Encoder(
    ElectraConfig,
    ElectraForTokenClassification,
    NAMES,
    "ElectraForTokenClassification",
    KNOWN,
    TINY,
    "wordpiece",
    "ELECTRA",
    CITATION,
    post_norm_graph,
)
