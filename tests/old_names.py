"""Names that weights had in former versions and classes."""

import numpy as np


def flax_tree(tensors):
    """Return the tensors under the names of the former Flax classes of `transformers`."""
    tree = {}
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        if leaf == "weight":
            if tensor.ndim == 1:  # of a layer norm
                leaf = "scale"
            elif parents[-1].endswith("embeddings"):
                leaf = "embedding"
            else:
                leaf, tensor = "kernel", tensor.T
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = np.ascontiguousarray(tensor)
    return tree


def of_2018(tensors):
    """Return the tensors with the names of 2018, when layer norms had a gamma and a beta."""
    norms = {name.removesuffix(".weight") for name, t in tensors.items() if t.ndim == 1}
    norms = {name for name in norms if f"{name}.weight" in tensors}
    old = {f"{name}.weight": f"{name}.gamma" for name in norms}
    old |= {f"{name}.bias": f"{name}.beta" for name in norms}
    return {old.get(name, name): tensor for name, tensor in tensors.items()}
