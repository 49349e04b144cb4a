"""Every family against torch: logits, every layer and gradients."""

import pytest

from tests.compare import assert_close, scaled_close
from tests.families import each_family, each_network, each_variant

pytest.importorskip("torch")

from tests.parity.sides import BASES, gradients, states_and_logits

pytestmark = pytest.mark.real_program


@each_variant
def test_every_layer_and_the_logits_equal_torch(family, changes):
    """Called like packed rows, with positions from 0, and as users call a model."""
    changes = {"initializer_range": 0.06, **changes}
    for name, ours, theirs in states_and_logits(family, changes):
        assert_close("logits", ours, theirs, name)


@pytest.mark.slow
@each_family
def test_a_model_of_base_size_equals_torch(family):
    """With the sizes of a well-known checkpoint, on rows longer than its windows and buckets."""
    sized = family.at(BASES[family.model_type])
    for name, ours, theirs in states_and_logits(sized, {}, batch=2, length=300):
        assert_close("logits", ours, theirs, name)


@each_network
def test_gradients_equal_torch(family):
    scaled_close("gradients", *gradients(family))


@each_family
def test_unsupported_variants_are_refused_by_name(family):
    for changes, message in family.refused:
        with pytest.raises(ValueError, match=message):
            family.model(**changes)
