"""Tokenizers that keep spaces: words given one by one are read as in running text."""

import numpy as np
import pytest

from flaxner.data.casing import lowers_case
from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.segments import align
from flaxner.data.tokenizer import load_tokenizer, read_as_trained, words_backend
from flaxner.inference.pipeline import pipeline
from flaxner.inference.tokens import Reader
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import export_folder
from tests.pipelines import SCORES, STRATEGIES, largest_difference, torch_pipeline
from tests.tiny import tiny_config
from tests.tokenizers_of_kinds import TEXTS

SCHEME = LabelScheme.from_types(["LOC", "ORG", "PER"])
NAMES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
WORDS = ("Oslo", "is", "near", "U.N.", "Lee's", "(", "Paris", ")", ".")
LLAMA = r"'s|'t|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"


def tokenizer_like(kind):
    """Return a tokenizer that reads spaces as Gemma's, Llama 3's or an unprefixed Metaspace do."""
    from tokenizers import Regex, Tokenizer, models, normalizers, processors, trainers
    from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Sequence, Split
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    alphabet = []
    if kind == "gemma":
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = Split("▁", "merged_with_next")
    elif kind == "llama":
        parts = [Split(Regex(LLAMA), "isolated"), ByteLevel(False, use_regex=False)]
        made.pre_tokenizer = Sequence(parts)
        made.post_processor = processors.ByteLevel(trim_offsets=True)
        alphabet = ByteLevel.alphabet()
    else:
        made.pre_tokenizer = Metaspace(prepend_scheme="never")
    special = list(NAMES.values())
    options = {"special_tokens": special, "initial_alphabet": alphabet}
    made.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=400, **options))
    if kind == "gemma":
        made.pre_tokenizer = Split(" ", "merged_with_previous")  # nothing is left to split at
    return PreTrainedTokenizerFast(tokenizer_object=made, **NAMES)


@pytest.fixture(params=["gemma", "llama", "metaspace"])
def tokenizer(request):
    return tokenizer_like(request.param)


def test_words_are_read_as_in_running_text(tokenizer, tmp_path):
    later = tokenizer.tokenize(" ".join(("x", *WORDS)))[1:]
    ids = words_backend(tokenizer).encode(list(WORDS), is_pretokenized=True).ids
    assert tokenizer.convert_ids_to_tokens(ids) == later
    assert read_as_trained(tokenizer)[0].startswith("the tokenizer now puts a space before every")
    assert read_as_trained(tokenizer) == []
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert read_as_trained(again) == []
    wanted = [again.cls_token_id, *ids, again.sep_token_id]
    for each in (tokenizer, again):
        assert each(" ".join(WORDS))["input_ids"] == wanted
        assert each(list(WORDS), is_split_into_words=True)["input_ids"] == wanted
        assert align([Sentence(WORDS)], each, None, 64).input_ids.tolist() == wanted


def test_words_of_running_text_end_at_white_space(tokenizer):
    for trained in (False, True):
        if trained:
            read_as_trained(tokenizer)
        words = Reader(tokenizer, 64).words("Lee  lives\nin (Oslo) . Paris")
        assert words == ["Lee", "lives", "in", "(", "Oslo", ")", ".", "Paris"]


@pytest.mark.parametrize("lower", [False, True])
def test_a_tokenizer_that_ignores_case_is_known_after_it_was_given_spaces(tokenizer, lower):
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    own = [normalizers.Lowercase()] if lower else []
    own += [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence(own)
    for _ in range(2):
        assert lowers_case(tokenizer) == lower
        read_as_trained(tokenizer)


def test_windows_of_running_text_begin_between_words(tokenizer):
    reading = Reader(tokenizer, 16).read([" ".join(TEXTS)])
    begins = reading.starts[:-1]
    assert np.diff(reading.starts).max() <= 16
    assert len(reading.input_ids) > len(reading.tokens.input_ids), "windows should overlap"
    first = tokenizer.convert_ids_to_tokens(reading.input_ids[begins[1:]].tolist())
    assert all(token[0] in "▁Ġ" for token in first), first


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_the_pipeline_answers_as_torchs(tokenizer, tmp_path):
    read_as_trained(tokenizer)
    sizes = {"vocab_size": len(tokenizer), "num_labels": len(SCHEME), "initializer_range": 0.3}
    model = Model(tiny_config(**sizes))
    folder = export_folder(tmp_path / "hub", model, model.init(3), SCHEME, tokenizer)
    ours, theirs = pipeline("ner", model=str(folder)), torch_pipeline(folder)
    texts = [*TEXTS[:3], "Lee  lives\nin (Oslo) . Paris", "  Lee", "Lee [SEP]Oslo ", "\tLee"]
    for strategy in STRATEGIES:
        answers = (one(texts, aggregation_strategy=strategy) for one in (ours, theirs))
        assert largest_difference(*map(list, answers)) < SCORES, strategy
    tags = ours.predict_words([list(WORDS)], decoder="argmax")[0]
    found = ours(" ".join(WORDS), aggregation_strategy="word", decoder="argmax", ignore_labels=[])
    assert sum(e["end_word"] - e["start_word"] for e in found) == len(
        ours.split_words(" ".join(WORDS))
    )
    assert len(tags) == len(WORDS)
