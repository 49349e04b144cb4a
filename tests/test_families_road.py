"""Every family end to end, offline: train, export, and give the same answers in torch as here."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from flaxner.config.train import TrainConfig
from flaxner.data import embedded
from flaxner.inference.pipeline import pipeline
from flaxner.models.encoders import ENCODERS
from flaxner.models.scratch import SCRATCH
from flaxner.publishing.conversion import convert
from flaxner.training.run import train
from tests.chaos import xla_flags
from tests.conftest import ROOT
from tests.conll import QUICK, sentences, write_conll
from tests.pipelines import SCORES, STRATEGIES, largest_difference, remembering

TEXTS = ["John Smith lives in Oslo, near Tarvik.", "Ann (Paris) met Dr. Brenner at 9 p.m."]


# One family per kind of tokenizer in the quick suite, all of them with -m slow.
QUICK_ONES = ("flaxner:tiny-roberta", "flaxner:tiny-deberta-v2", "flaxner:tiny-xlm-roberta")
MODELS = [
    pytest.param(name, marks=() if name in QUICK_ONES else pytest.mark.slow) for name in SCRATCH
]


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    """A tiny model with random weights, trained for a few steps."""
    folder = tmp_path_factory.mktemp("road")
    corpus = str(write_conll(folder / "train.conll", sentences(24)))
    settings = QUICK | {"train_file": corpus, "validation_file": corpus, "test_file": corpus}
    settings |= {"output_dir": str(folder / "run"), "model": request.param}
    train(TrainConfig(**settings))
    return folder / "run"


def test_a_trained_folder_answers_in_torch_as_here(trained):
    pytest.importorskip("torch")
    from transformers import AutoModelForTokenClassification, AutoTokenizer
    from transformers import pipeline as torch_pipeline

    hub = trained / "hub"
    fields = json.loads((hub / "config.json").read_text())
    assert fields["architectures"] == [ENCODERS[fields["model_type"]].architecture]
    theirs = torch_pipeline(
        "ner",
        model=AutoModelForTokenClassification.from_pretrained(hub),
        tokenizer=AutoTokenizer.from_pretrained(hub),
        ignore_labels=[],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = pipeline("ner", model=str(hub), ignore_labels=[])(TEXTS)
        for one, two in zip(ours, theirs(TEXTS), strict=True):
            assert [e["word"] for e in one] == [e["word"] for e in two]
            assert [e["entity"] for e in one] == [e["entity"] for e in two]
            assert np.allclose([e["score"] for e in one], [e["score"] for e in two], atol=1e-5)


def test_a_checkpoint_converts_and_equals_torch(trained, tmp_path):
    pytest.importorskip("torch")
    made = convert(trained, output_dir=tmp_path / "hub", verify=True)
    assert made.difference is not None
    assert made.difference < 1e-4


def snippet_finds_what_we_find(hub):
    """Compare with the usual torch code on a hundred sentences, for every aggregation strategy."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer
    from transformers import pipeline as torch_pipeline

    theirs = torch_pipeline(
        "ner",
        model=AutoModelForTokenClassification.from_pretrained(hub),
        tokenizer=AutoTokenizer.from_pretrained(hub),
    )
    ours, theirs = pipeline("ner", model=str(hub)), remembering(theirs)
    texts = [" ".join(words) for words, _ in embedded.generate("test")][:100]
    for strategy in STRATEGIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine, yours = (ner(texts, aggregation_strategy=strategy) for ner in (ours, theirs))
        assert largest_difference(mine, yours) < SCORES
        assert sum(map(len, mine)) > len(texts) / 2


@pytest.mark.slow
@pytest.mark.parametrize("model", SCRATCH)
def test_every_family_learns_from_random_weights_and_torch_agrees(model, tmp_path, record_property):
    """The quick start with another model, run as a user would."""
    pytest.importorskip("torch")
    flags = ["--preset", "quickstart", "--model", model]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags]
    environment = {**os.environ, "XLA_FLAGS": xla_flags()}  # one device, as on a laptop
    out = tmp_path / "run"
    subprocess.run([*command, "--output-dir", str(out)], env=environment, check=True)
    results = json.loads((out / "results.json").read_text())
    reached = results["validation"]["overall_f1"]
    record_property("validation_f1", reached)
    assert reached >= 0.95
    snippet_finds_what_we_find(out / "hub")
