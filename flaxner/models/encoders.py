"""The table of encoders: model_type in config.json -> `Encoder`.

To add an encoder, add a folder next to this module and a row here.
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
    """Return the encoder for a model_type.

    Raises:
      ValueError: the type is not supported; the message lists the supported ones.
    """
    if not isinstance(model_type, str) or model_type not in ENCODERS:
        raise ValueError(
            f"{source} is a model of type {model_type!r}; flaxner supports {', '.join(ENCODERS)}"
        )
    return ENCODERS[model_type]
