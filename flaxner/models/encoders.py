"""The table of encoders: model_type of config.json -> what makes it.

A new encoder is a folder beside this module and a row here.
"""

from __future__ import annotations

from flaxner.models import bert, deberta, distilbert, electra, modernbert, roberta
from flaxner.models.layers.encoder import Encoder

ENCODERS: dict[str, Encoder] = {
    "bert": bert.ENCODER,
    "deberta": deberta.ENCODER,
    "deberta-v2": deberta.ENCODER_V2,
    "roberta": roberta.ROBERTA,
    "xlm-roberta": roberta.XLM_ROBERTA,
    "camembert": roberta.CAMEMBERT,
    "distilbert": distilbert.ENCODER,
    "electra": electra.ENCODER,
    "modernbert": modernbert.ENCODER,
}


def encoder_of(model_type: object, source: str) -> Encoder:
    """The encoder of a model_type.

    Raises:
      ValueError: there is none; the known ones are named.
    """
    if not isinstance(model_type, str) or model_type not in ENCODERS:
        raise ValueError(
            f"{source} is a model of type {model_type!r}; flaxner knows {', '.join(ENCODERS)}"
        )
    return ENCODERS[model_type]
