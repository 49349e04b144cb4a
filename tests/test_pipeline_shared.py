"""Thousands of real sentences through both pipelines, on a genuine pretrained BERT."""

import pytest

from flaxner.data.labels import LabelScheme
from flaxner.inference.pipeline import pipeline
from flaxner.models.pretrained import load_pretrained
from flaxner.publishing.hub_folder import export_folder
from tests.pipelines import (
    ODD,
    SCORES,
    STRATEGIES,
    largest_difference,
    real_sentences,
    remembering,
    torch_pipeline,
)

pytestmark = [pytest.mark.slow, pytest.mark.shared]
TAGS = ("O", *(f"{p}-{t}" for t in ("LOC", "MISC", "ORG", "PER") for p in "BI"))
SENTENCES = 2000


@pytest.fixture(scope="module")
def folder(minilm_folder, tmp_path_factory):
    """MiniLM with a random head, wide enough for every label to be found."""
    from flaxner.data.tokenizer import load_tokenizer

    loaded = load_pretrained(minilm_folder, num_labels=len(TAGS), seed=1)
    params = dict(loaded.params)
    params["classifier/kernel"] = params["classifier/kernel"] * 15
    tokenizer = load_tokenizer(minilm_folder)
    path = tmp_path_factory.mktemp("minilm") / "hub"
    return export_folder(path, loaded.model, params, LabelScheme(TAGS), tokenizer)


@pytest.fixture(scope="module")
def texts(shared_data):
    every = real_sentences(shared_data)
    long = " ".join(every)[:10_000]
    return [*every[:SENTENCES], *ODD, long]


@pytest.mark.parametrize("stride", [None, 16])
def test_real_sentences_equal_hf(folder, texts, stride):
    ours, theirs = pipeline("ner", model=folder), remembering(torch_pipeline(folder))
    for strategy in STRATEGIES[1:] if stride else STRATEGIES:
        call = {"aggregation_strategy": strategy, "stride": stride}
        got = ours(texts, **call, truncation=True)
        worst = largest_difference(got, theirs(texts, batch_size=8, **call))
        found = sum(map(len, got))
        print(
            f"{strategy}, stride {stride}: {len(texts)} texts, {found} entities, {worst:.1e}",
            flush=True,
        )
        assert worst < SCORES
        assert found > SENTENCES
