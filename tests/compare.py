"""The only way that tests compare numbers; every tolerance is defined here."""

import numpy as np

# what is compared -> (max absolute, max relative) difference, float32
TOLERANCES = {
    "logits": (1e-5, 0.0),  # against torch, whole models and single layers
    "gradients": (1e-7, 1e-5),  # against torch, for every parameter
    "packing": (1e-6, 1e-5),  # packed against unpacked: logits, loss, gradients
    "devices": (1e-9, 1e-6),  # parameters after training on another number of devices
    "optimizer": (1e-6, 1e-5),  # parameters after a few steps, against torch's AdamW
    "exact": (0.0, 0.0),
}


def assert_close(what, ours, theirs, name=""):
    """Compare two arrays, or two dicts of arrays, by the tolerance for `what`."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            assert_close(what, ours[key], theirs[key], f"{name}{key}")
        return
    absolute, relative = TOLERANCES[what]
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, f"{name}: {ours.dtype} against {theirs.dtype}"
    np.testing.assert_allclose(ours, theirs, atol=absolute, rtol=relative, err_msg=name)


def scaled_close(what, ours, theirs, name=""):
    """Like assert_close, but the relative tolerance applies to the largest element of the array."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in ours:
            scaled_close(what, ours[key], theirs[key], f"{name}{key}")
        return
    absolute, relative = TOLERANCES[what]
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    limit = absolute + relative * np.abs(theirs).max(initial=0.0)
    assert np.abs(ours - theirs).max(initial=0.0) <= limit, name
