"""Tiny models of every family, for the tests that all families must pass.

Add a row to FAMILIES for a new family: the parity, round-trip, weight, packing and training suites
then cover it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from flaxner.models.encoders import ENCODERS
from flaxner.models.layers.compute import Compute
from flaxner.models.modernbert.config import FULL, SLIDING
from flaxner.models.network import Model
from flaxner.models.tensors import WeightNames, from_hf
from tests.tiny import SIZES

Fields = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
    """A family's tiny model, and what the suites vary.

    Attributes:
      model_type: key of ENCODERS.
      sizes: config.json of the tiny model, without model_type and labels.
      still: changes that turn every dropout off.
      variants: name -> changes of config.json; together they vary every field that matters.
      refused: (changes of config.json, part of the error message).
      pretraining: PyTorch's pre-training class, whose heads are ignored.
      leftovers: (vocabulary, width) -> unused heads and buffers of old checkpoints.
      flax: whether `transformers` 4 had a Flax class, so that flax_model.msgpack must be read.
      lead: the family with the same network, if this one differs only in names; the variants and
        expensive tests run on that family alone.
    """

    model_type: str
    sizes: Fields
    still: Fields
    variants: Mapping[str, Fields]
    refused: tuple[tuple[Fields, str], ...]
    pretraining: str
    leftovers: Callable[[int, int], dict[str, np.ndarray]]
    flax: bool = True
    lead: str = ""

    @property
    def names(self) -> WeightNames:
        """PyTorch's names of the weights."""
        return ENCODERS[self.model_type].names

    @property
    def architecture(self) -> str:
        """PyTorch's token classification class."""
        return ENCODERS[self.model_type].architecture

    def fields(self, labels: int = 5, **changes: Any) -> dict[str, Any]:
        """Return the content of config.json."""
        table = {str(i): f"L{i}" for i in range(labels)}
        given = {"model_type": self.model_type, "id2label": table, **self.sizes}
        return {**given, "label2id": {v: int(k) for k, v in table.items()}, **changes}

    def at(self, name: str) -> Family:
        """Return the family with the sizes of a well-known checkpoint."""
        encoder = ENCODERS[self.model_type]
        config = encoder.config.from_hf({"model_type": self.model_type, **encoder.sizes[name]})
        return dataclasses.replace(self, sizes=config.to_hf())

    def model(self, compute: Compute | None = None, labels: int = 5, **changes: Any) -> Model:
        """Return our static model definition."""
        return Model.from_fields(self.fields(labels, **changes), compute=compute)

    def torch_config(self, labels: int = 5, **changes: Any) -> Any:
        """Return PyTorch's config."""
        from transformers import AutoConfig

        fields = self.fields(labels, **changes)
        table = {int(key): name for key, name in fields.pop("id2label").items()}
        return AutoConfig.for_model(**fields, id2label=table)

    def torch_model(self, seed: int = 0, labels: int = 5, **changes: Any) -> Any:
        """Return a random PyTorch model."""
        import torch
        from transformers import AutoModelForTokenClassification

        torch.manual_seed(seed)
        config = self.torch_config(labels, **changes)
        model = AutoModelForTokenClassification.from_config(config).eval()
        with torch.no_grad():  # move biases and norms off their trivial initial values
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            for module in model.modules():  # likewise the row of the padding token
                if getattr(module, "padding_idx", None) is not None and hasattr(module, "weight"):
                    row = module.weight[module.padding_idx]
                    row.copy_(torch.randn_like(row) * config.initializer_range)
        return model

    def pair(self, seed: int = 0, labels: int = 5, **changes: Any) -> tuple[Any, Model, dict]:
        """Return the same random model in PyTorch and here, and our parameters."""
        theirs, ours = (
            self.torch_model(seed, labels, **changes),
            self.model(None, labels, **changes),
        )
        tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
        shapes = {path: leaf.shape for path, leaf in ours.shapes.items()}
        params = from_hf(tensors, ours.rules, shapes, source="torch", ignored=self.names.ignored)
        return theirs, ours, params

    def inputs(self, model: Model, seed: int = 1, batch: int = 3, length: int = 17) -> dict:
        """Return random input_ids, an attention_mask with one short row, and token_type_ids."""
        rng = np.random.default_rng(seed)
        ids = rng.integers(1, model.config.vocab_size, (batch, length)).astype(np.int32)
        mask = np.ones_like(ids)
        mask[1, length // 2 :] = 0
        types = getattr(model.config, "type_vocab_size", 0)
        given = {"input_ids": ids, "attention_mask": mask}
        if types:
            given["token_type_ids"] = rng.integers(0, types, ids.shape).astype(np.int32)
        return given


def apply(model: Model, params: Fields, inputs: Mapping[str, np.ndarray], **more: Any) -> Any:
    """Return our logits of unpacked rows, called like packed ones, with positions from 0."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    return model.apply(params, ids, mask, positions, inputs.get("token_type_ids"), **more)


def packed_beside_alone(model: Model, params: Fields, sizes: tuple[int, int]) -> tuple[Any, Any]:
    """Return the logits of two segments packed into one row, and of each in its own row."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, model.config.vocab_size, (1, sum(sizes))).astype(np.int32)
    marks = np.repeat([1, 2], sizes)[None].astype(np.int32)
    places = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])[None]
    packed = model.apply(params, ids, marks, places)
    alone = []
    for number in (1, 2):  # as long as the packed row, to compile only once
        own = marks[0] == number
        row = np.zeros((3, *ids.shape), np.int32)
        for line, values in zip(row, (ids, np.ones_like(ids), places), strict=True):
            line[0, : own.sum()] = values[0, own]
        alone.append(model.apply(params, *row)[:, : own.sum()])
    return np.asarray(packed), np.concatenate(alone, axis=1)


def torch_inputs(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the inputs as torch tensors."""
    import torch

    return {name: torch.from_numpy(value).long() for name, value in inputs.items()}


# Variants of every family with BERT's block, with BERT's field names.
BERTS = {
    "plain": {},
    "relu": {"hidden_act": "relu"},
    "gelu_new": {"hidden_act": "gelu_new"},
    "silu": {"hidden_act": "silu"},
    "wide eps": {"layer_norm_eps": 1e-3},
    "odd heads": {"hidden_size": 30, "num_attention_heads": 3},
    "one head, narrow": {"num_attention_heads": 1, "intermediate_size": 7},
    "deep": {"num_hidden_layers": 5},
    "hundred labels": {"labels": 100},
    "own dropout before the head": {"classifier_dropout": 0.3},
    "no dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "wide init": {"initializer_range": 0.3},
    "four token types": {"type_vocab_size": 4},
    "one token type": {"type_vocab_size": 1},
    "few positions": {"max_position_embeddings": 20},
}
# Related families, which share BERT's blocks, are tested without these.
NOT_OF_KIN = ("relu", "silu", "one head, narrow", "hundred labels", "no dropout", "few positions")
KIN = {name: changes for name, changes in BERTS.items() if name not in NOT_OF_KIN}
REFUSED = (
    ({"is_decoder": True}, "is_decoder=True"),
    ({"hidden_act": "swiglu"}, "hidden_act must be one of .*: got 'swiglu'"),
    ({"num_attention_heads": 5}, "32 is not a multiple of 5"),
)
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert_leftovers(vocabulary: int, width: int) -> dict[str, np.ndarray]:
    """Return unused tensors of an old fine-tuned pre-training checkpoint."""
    return {
        "bert.embeddings.position_ids": np.arange(64)[None],
        "bert.pooler.dense.weight": np.ones((width, width), np.float32),
        "bert.pooler.dense.bias": np.ones(width, np.float32),
        "cls.predictions.decoder.weight": np.ones((vocabulary, width), np.float32),
        "cls.predictions.bias": np.ones(vocabulary, np.float32),
        "cls.seq_relationship.weight": np.ones((2, width), np.float32),
    }


ROBERTAS = SIZES | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}
ROBERTA_VARIANTS = {
    "two token types": {"type_vocab_size": 2},
    "padding is 0": {"pad_token_id": 0},
    "padding is 7": {"pad_token_id": 7},
    "few positions": {"max_position_embeddings": 19},
}


def roberta_leftovers(vocabulary: int, width: int) -> dict[str, np.ndarray]:
    """Return unused tensors of an old pre-training checkpoint."""
    return {
        "roberta.embeddings.position_ids": np.arange(66)[None],
        "roberta.pooler.dense.weight": np.ones((width, width), np.float32),
        "roberta.pooler.dense.bias": np.ones(width, np.float32),
        "lm_head.dense.weight": np.ones((width, width), np.float32),
        "lm_head.decoder.weight": np.ones((vocabulary, width), np.float32),
        "lm_head.bias": np.ones(vocabulary, np.float32),
    }


# BERT's name -> DistilBERT's
DISTIL = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
DISTIL_VARIANTS = {
    name: {DISTIL.get(field, field): value for field, value in changes.items()}
    for name, changes in BERTS.items()
    if not changes.keys() & {"type_vocab_size", "classifier_dropout", "layer_norm_eps"}
} | {
    "sinusoids": {"sinusoidal_pos_embds": True},
    "dropouts of other heads": {"qa_dropout": 0.3, "seq_classif_dropout": 0.4},
}


def distilbert_leftovers(vocabulary: int, width: int) -> dict[str, np.ndarray]:
    """Return unused tensors of old checkpoints for pre-training and other tasks."""
    return {
        "distilbert.embeddings.position_ids": np.arange(64)[None],
        "vocab_transform.weight": np.ones((width, width), np.float32),
        "vocab_layer_norm.weight": np.ones(width, np.float32),
        "vocab_projector.weight": np.ones((vocabulary, width), np.float32),
        "pre_classifier.weight": np.ones((width, width), np.float32),
        "qa_outputs.weight": np.ones((2, width), np.float32),
    }


def electra_leftovers(vocabulary: int, width: int) -> dict[str, np.ndarray]:
    """Return unused tensors of a discriminator and of a whole pre-training checkpoint."""
    return {
        "electra.embeddings.position_ids": np.arange(64)[None],
        "discriminator_predictions.dense.weight": np.ones((width, width), np.float32),
        "discriminator_predictions.dense_prediction.bias": np.ones(1, np.float32),
        "generator_predictions.LayerNorm.weight": np.ones(20, np.float32),
        "generator_lm_head.bias": np.ones(vocabulary, np.float32),
    }


DEBERTAS = SIZES | {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
}
DEBERTA_V3 = {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}
DEBERTA_VARIANTS = {
    "plain": {},
    "deep": {"num_hidden_layers": 5},
    "c2p alone": {"pos_att_type": ["c2p"]},
    "p2c alone, few distances": {"pos_att_type": "p2c", "max_relative_positions": 6},
    "positions, types": {"position_biased_input": True, "type_vocab_size": 2},
    "no relative attention": {"relative_attention": False},
}
DEBERTA_V2_VARIANTS = {
    "plain": {},
    "deep": {"num_hidden_layers": 5},
    "own projections": {"share_att_key": False},
    "c2p alone": {"share_att_key": False, "pos_att_type": ["c2p"]},
    "no buckets": {"position_buckets": -1, "max_relative_positions": 9},
    "no norm of the table": {"position_buckets": -1, "norm_rel_ebd": "none"},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu"},
    "wide convolution": {"conv_kernel_size": 5},
    "narrow embeddings": {"embedding_size": 20, "type_vocab_size": 2},
    "no relative attention": {"relative_attention": False},
}


def deberta_leftovers(vocabulary: int, width: int) -> dict[str, np.ndarray]:
    """Return unused tensors of a pre-training checkpoint."""
    return {
        "deberta.embeddings.position_ids": np.arange(64)[None],
        "cls.predictions.bias": np.ones(vocabulary, np.float32),
        "lm_predictions.lm_head.dense.weight": np.ones((width, width), np.float32),
        "mask_predictions.dense.weight": np.ones((width, width), np.float32),
    }


MODERN = {
    name: SIZES[name]
    for name in ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")
} | {
    "num_hidden_layers": 4,
    "intermediate_size": 24,
    "local_attention": 8,
    **{f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")},
}
MODERN_VARIANTS = {
    "plain": {},
    "deep": {"num_hidden_layers": 7},
    "biases": dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True),
    "other kinds of layers": {
        "layer_types": [FULL, SLIDING, FULL, FULL],
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": 1000.0},
            SLIDING: {"rope_type": "default", "rope_theta": 50.0},
        },
    },
    "old names": {"global_attn_every_n_layers": 2, "global_rope_theta": 300.0},
    "activations": {"hidden_activation": "silu", "classifier_activation": "tanh"},
}


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="bert",
            sizes=SIZES,
            still=STILL,
            variants=BERTS,
            refused=(
                *REFUSED,
                ({"position_embedding_type": "relative_key"}, "type='relative_key'"),
            ),
            pretraining="BertForPreTraining",
            leftovers=bert_leftovers,
        ),
        *(
            Family(
                model_type=name,
                sizes=ROBERTAS,
                still=STILL,
                variants=KIN | ROBERTA_VARIANTS,
                refused=(
                    *REFUSED,
                    ({"position_embedding_type": "relative_key"}, "type='relative_key'"),
                    ({"pad_token_id": None}, "pad_token_id must be an index .*: got None"),
                    ({"pad_token_id": 99}, "pad_token_id must be an index .* 99 .*: got 99"),
                    ({"max_position_embeddings": 2}, "leave some of the 2 positions"),
                ),
                pretraining=f"{architecture}ForMaskedLM",
                leftovers=roberta_leftovers,
                flax=name != "camembert",
                lead="" if name == "roberta" else "roberta",
            )
            for name, architecture in (
                ("roberta", "Roberta"),
                ("xlm-roberta", "XLMRoberta"),
                ("camembert", "Camembert"),
            )
        ),
        Family(
            model_type="distilbert",
            sizes={DISTIL.get(name, name): value for name, value in SIZES.items()},
            still={DISTIL.get(name, name): value for name, value in STILL.items()},
            variants=DISTIL_VARIANTS,
            refused=(
                ({"is_decoder": True}, "is_decoder=True"),
                ({"activation": "swiglu"}, "activation must be one of .*: got 'swiglu'"),
                ({"n_heads": 5}, "dim must be a multiple of n_heads: 32 is not a multiple of 5"),
            ),
            pretraining="DistilBertForMaskedLM",
            leftovers=distilbert_leftovers,
        ),
        Family(
            model_type="electra",
            sizes=SIZES | {"embedding_size": 20},
            still=STILL,
            variants=KIN | {"as wide as the blocks": {"embedding_size": 32}},
            refused=(
                *REFUSED,
                ({"position_embedding_type": "relative_key"}, "type='relative_key'"),
            ),
            pretraining="ElectraForPreTraining",
            leftovers=electra_leftovers,
        ),
        *(
            Family(
                model_type=name,
                sizes=DEBERTAS | more,
                still=STILL,
                variants=variants,
                refused=(*REFUSED, ({"pos_att_type": "c2c"}, "pos_att_type may only contain")),
                pretraining=f"{architecture}ForMaskedLM",
                leftovers=deberta_leftovers,
                flax=False,
            )
            for name, architecture, more, variants in (
                ("deberta", "Deberta", {}, DEBERTA_VARIANTS),
                ("deberta-v2", "DebertaV2", DEBERTA_V3, DEBERTA_V2_VARIANTS),
            )
        ),
        Family(
            model_type="modernbert",
            sizes=MODERN,
            still={},
            variants=MODERN_VARIANTS,
            refused=(
                ({"is_decoder": True}, "is_decoder=True"),
                ({"hidden_activation": "swiglu"}, "hidden_activation must be one of"),
                ({"num_attention_heads": 5}, "32 is not a multiple of 5"),
            ),
            pretraining="ModernBertForMaskedLM",
            leftovers=lambda vocabulary, width: {"decoder.bias": np.ones(vocabulary, np.float32)},
            flax=False,
        ),
    )
}
LEADS = {name: family for name, family in FAMILIES.items() if not family.lead}
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
each_network = pytest.mark.parametrize("family", LEADS.values(), ids=LEADS)
each_variant = pytest.mark.parametrize(
    ("family", "changes"),
    [(family, changes) for family in LEADS.values() for changes in family.variants.values()],
    ids=[f"{name}, {variant}" for name in LEADS for variant in LEADS[name].variants],
)
