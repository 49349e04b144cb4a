"""RoBERTa, XLM-R and CamemBERT: settings, network, weight names, well-known sizes."""

from flaxner.models.layers.encoder import Encoder
from flaxner.models.roberta import citation, sizes
from flaxner.models.roberta.config import CamembertConfig, RobertaConfig, XLMRobertaConfig
from flaxner.models.roberta.graph import roberta_graph
from flaxner.models.roberta.network import RobertaForTokenClassification
from flaxner.models.roberta.weights import NAMES

ROBERTA = Encoder(
    RobertaConfig,
    RobertaForTokenClassification,
    NAMES,
    "RobertaForTokenClassification",
    sizes.ROBERTA,
    sizes.TINY,
    "byte_bpe",
    "RoBERTa",
    citation.ROBERTA,
    roberta_graph,
)
XLM_ROBERTA = ROBERTA._replace(
    config=XLMRobertaConfig,
    architecture="XLMRobertaForTokenClassification",
    sizes=sizes.XLM_ROBERTA,
    tokenizer="unigram",
    title="XLM-R",
    citation=citation.XLM_ROBERTA,
)
CAMEMBERT = ROBERTA._replace(
    config=CamembertConfig,
    architecture="CamembertForTokenClassification",
    sizes=sizes.CAMEMBERT,
    tokenizer="unigram",
    title="CamemBERT",
    citation=citation.CAMEMBERT,
)
