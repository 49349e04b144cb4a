"""The two sides of parity measurements: the same values computed here and by torch."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from flaxner.models.tensors import to_hf
from flaxner.training.loss import Softmax
from tests.families import apply, torch_inputs

# model_type -> a well-known base-sized checkpoint, listed in ENCODERS.
BASES = {
    "bert": "google-bert/bert-base-cased",
    "roberta": "FacebookAI/roberta-base",
    "xlm-roberta": "FacebookAI/xlm-roberta-base",
    "camembert": "almanach/camembert-base",
    "distilbert": "distilbert/distilbert-base-cased",
    "electra": "google/electra-base-discriminator",
    "deberta": "microsoft/deberta-base",
    "deberta-v2": "microsoft/deberta-v3-base",
    "modernbert": "answerdotai/ModernBERT-base",
}


def states_and_logits(family, changes, batch=3, length=30):
    """Return (what, ours, torch's) for the hidden states of all layers and the logits, unpadded.

    The logits come twice: called like packed rows, with positions from 0, and called as by users.
    """
    theirs, ours, params = family.pair(**changes)
    inputs = family.inputs(ours, batch=batch, length=min(length, ours.config.positions))
    with torch.no_grad():
        there = theirs(**torch_inputs(inputs), output_hidden_states=True)
    here = inputs["attention_mask"] == 1
    network = ours.bind(params)
    states = network.encode(**inputs, all_layers=True)
    assert len(states) == len(there.hidden_states) == ours.config.num_hidden_layers + 1
    layers = enumerate(zip(states, there.hidden_states, strict=True))
    sides = [(f"hidden states {n}", mine, other) for n, (mine, other) in layers]
    sides += [
        ("logits of rows", apply(ours, params, inputs), there.logits),
        ("logits", network(**inputs), there.logits),
    ]
    return [(name, np.asarray(mine)[here], other.numpy()[here]) for name, mine, other in sides]


def gradients(family):
    """Return our loss gradients and torch's, by torch's names; also compare the loss."""
    theirs, ours, params = family.pair(initializer_range=0.1)
    inputs = family.inputs(ours, seed=3)
    # torch gives no gradient to the padding token's embedding, we do; texts do not contain it
    pad = theirs.config.pad_token_id
    inputs["input_ids"][inputs["input_ids"] == pad] = pad + 1
    labels = np.random.default_rng(4).integers(0, 5, inputs["input_ids"].shape)
    labels[inputs["attention_mask"] == 0] = -100
    labels[:, ::3] = -100

    def loss(params):
        total, count = Softmax().loss(apply(ours, params, inputs), jnp.asarray(labels))
        return total / count

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    reference = theirs(**torch_inputs(inputs), labels=torch.tensor(labels)).loss
    reference.backward()
    np.testing.assert_allclose(value, reference.item(), rtol=1e-6)
    ours_named = to_hf(gradient, ours.rules)
    theirs_named = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert ours_named.keys() == theirs_named.keys()
    return ours_named, theirs_named
