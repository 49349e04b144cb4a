"""DeBERTa, versions 1 to 3: settings, network, weight names, well-known sizes."""

from flaxner.models.deberta.citation import CITATION
from flaxner.models.deberta.config import DebertaConfig, DebertaV2Config
from flaxner.models.deberta.graph import deberta_graph
from flaxner.models.deberta.network import DebertaForTokenClassification
from flaxner.models.deberta.sizes import KNOWN, KNOWN_V2, TINY, TINY_V2
from flaxner.models.deberta.weights import NAMES
from flaxner.models.layers.encoder import Encoder

ENCODER = Encoder(
    DebertaConfig,
    DebertaForTokenClassification,
    NAMES,
    "DebertaForTokenClassification",
    KNOWN,
    TINY,
    "byte_bpe",
    "DeBERTa",
    CITATION,
    deberta_graph,
    rows_first=False,  # attention has heads as its first axis
)
ENCODER_V2 = Encoder(
    DebertaV2Config,
    DebertaForTokenClassification,
    NAMES,
    "DebertaV2ForTokenClassification",
    KNOWN_V2,
    TINY_V2,
    "deberta_unigram",
    "DeBERTa",
    CITATION,
    deberta_graph,
    rows_first=False,  # attention has heads as its first axis
)
