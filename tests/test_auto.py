"""The public classes: called as `transformers` models are, loaded by family or automatically."""

import json

import numpy as np
import pytest
from flax import nnx

import flaxner
from flaxner.data.labels import LabelScheme
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import export_folder
from tests.compare import assert_close
from tests.tiny import tiny_config
from tests.wordpiece import tiny_tokenizer

SCHEME = LabelScheme.from_types(["LOC", "PER"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = tiny_tokenizer()
    model = Model(tiny_config(vocab_size=len(tokenizer), num_labels=len(SCHEME)))
    where = tmp_path_factory.mktemp("auto") / "hub"
    return export_folder(where, model, model.init(0), SCHEME, tokenizer)


def test_a_call_with_the_arguments_of_transformers_equals_torch(folder):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForTokenClassification

    inputs = tiny_tokenizer()(
        ["John lives in Oslo", "Paris"],
        ["and in Rome", "is here"],
        padding=True,
        return_tensors="np",
    )
    assert inputs["token_type_ids"].any()
    model = flaxner.FlaxBertForTokenClassification.from_pretrained(folder)
    theirs = AutoModelForTokenClassification.from_pretrained(folder)
    with torch.no_grad():
        expected = theirs(**{k: torch.tensor(v) for k, v in inputs.items()}).logits.numpy()
    here = inputs["attention_mask"] == 1
    assert_close("logits", np.asarray(model(**inputs))[here], expected[here])
    auto = flaxner.FlaxAutoModelForTokenClassification.from_pretrained(folder)
    assert isinstance(model, flaxner.FlaxBertForTokenClassification)
    assert isinstance(auto, flaxner.FlaxBertForTokenClassification)
    assert_close("exact", np.asarray(auto(**inputs)), np.asarray(model(**inputs)))
    lists = {name: values.tolist() for name, values in inputs.items()}
    assert_close("exact", np.asarray(model(**lists)), np.asarray(model(**inputs)))
    with pytest.raises(ValueError, match="broadcast"):
        model(inputs["input_ids"], inputs["attention_mask"][:, 1:])


def test_a_model_with_an_adapter_is_not_used_without_it(folder):
    model = flaxner.FlaxBertForTokenClassification.from_pretrained(folder)
    attention = model.layers[0].attention
    width, query = model.config.hidden_size, attention.query
    adapted = nnx.LoRALinear(width, width, lora_rank=2, rngs=nnx.Rngs(0))
    adapted.kernel, adapted.bias = query.kernel, query.bias
    ids = np.ones((1, 4), np.int32)
    before = np.asarray(model(ids))
    attention.query = adapted
    assert_close("exact", np.asarray(model(ids)), before)  # B starts at zero
    with pytest.raises(ValueError, match=r"differs in layers/0/attention/query, .*/lora/lora_a"):
        flaxner.pipeline("ner", model, tokenizer=tiny_tokenizer(), id2label=SCHEME.tags)


def test_a_network_of_the_users_own_is_not_run_as_its_base_class(folder):
    class Subclass(flaxner.FlaxBertForTokenClassification):
        pass

    class Halved(Subclass):
        def head(self, x_BLD, key):
            return super().head(x_BLD, key) / 2

    class Other(nnx.Linear):
        def __call__(self, x):
            return super().__call__(x) / 2

    def opened(model):
        return flaxner.pipeline("ner", model, tokenizer=tiny_tokenizer(), id2label=SCHEME.tags)

    config = flaxner.FlaxBertForTokenClassification.from_pretrained(folder).config
    model = Subclass(config, rngs=nnx.Rngs(0))
    plain = nnx.Linear(config.hidden_size, len(SCHEME), rngs=nnx.Rngs(1))
    model.classifier = plain  # computes as the layer it replaces
    opened(model)("Oslo")
    with pytest.raises(ValueError, match="differs in its method head;"):
        opened(Halved(config, rngs=nnx.Rngs(0)))
    model.classifier = Other(config.hidden_size, len(SCHEME), rngs=nnx.Rngs(1))
    with pytest.raises(ValueError, match="differs in classifier;"):
        opened(model)


def test_a_head_of_another_width_is_replaced_only_if_asked(folder):
    load = flaxner.FlaxBertForTokenClassification.from_pretrained
    with pytest.raises(ValueError, match=r"classifier.bias is \(5,\), expected \(3,\)"):
        load(folder, num_labels=3)
    with pytest.warns(UserWarning, match=r"no classifier.bias, classifier.weight for 3 labels"):
        other = load(folder, num_labels=3, ignore_mismatched_sizes=True)
    ids = np.ones((1, 4), np.int32)
    assert other(ids, ids).shape == (1, 4, 3)
    same = load(folder, num_labels=5, ignore_mismatched_sizes=True)  # without a warning
    assert_close("exact", np.asarray(same(ids, ids)), np.asarray(load(folder)(ids, ids)))


def test_a_third_positional_argument_is_refused(folder):
    """The old Flax class took token types there and ours took positions, so refuse to guess."""
    model = flaxner.FlaxBertForTokenClassification.from_pretrained(folder)
    ids = np.ones((1, 4), np.int32)
    model(ids, ids)
    with pytest.raises(TypeError, match="positional"):
        model(ids, ids, ids)


def test_another_family_is_refused_by_name(folder, tmp_path):
    fields = json.loads((folder / "config.json").read_text()) | {"model_type": "albert"}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"of type 'albert'; flaxner supports bert"):
        flaxner.FlaxAutoModelForTokenClassification.from_pretrained(tmp_path)
