"""WordPiece, byte-level BPE and Unigram: given words and running text lead to the same answers."""

import itertools
import json
import random
import warnings

import numpy as np
import pytest

from flaxner.data.corpus import Sentence
from flaxner.data.documents import in_documents
from flaxner.data.labels import LabelScheme
from flaxner.data.segments import align
from flaxner.data.tokenizer import (
    give_prefix_space,
    load_tokenizer,
    plain_backend,
    read_as_trained,
    save_tokenizer,
    words_backend,
)
from flaxner.inference.pipeline import pipeline
from flaxner.inference.tokens import Reader
from flaxner.inference.word_numbers import words_apart
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import export_folder, save_model_files
from flaxner.publishing.verification import Probe, in_torch
from tests.pipelines import (
    SCORES,
    STRATEGIES,
    largest_difference,
    real_sentences,
    remembering,
    torch_pipeline,
)
from tests.tiny import tiny_config
from tests.tokenizers_of_kinds import KINDS, TEXTS, tokenizer_of_kind

pytestmark = pytest.mark.real_program
SCHEME = LabelScheme.from_types(["LOC", "ORG", "PER"])
ODD = ("Ann", "(", "U.S.", "​", "東京", "👍🏽", ",", "a-b", "é́", "'s")


@pytest.mark.parametrize("kind", KINDS)
def test_given_words_are_tokenised_as_the_saved_tokenizer_does_in_torch(kind, tmp_path):
    tokenizer = tokenizer_of_kind(kind)
    tokenizer.save_pretrained(tmp_path)
    theirs = load_tokenizer(tmp_path)(list(ODD), is_split_into_words=True)
    words_with_tokens = {word for word in theirs.word_ids() if word is not None}
    segments = align([Sentence(ODD)], tokenizer, None, 64)
    ours = segments.input_ids.tolist()
    if len(words_with_tokens) == len(ODD):
        assert ours == theirs["input_ids"]
    owned = segments.words[segments.words >= 0]
    assert owned.tolist() == list(range(len(ODD))), "every word is owned once, in order"
    firsts = {word: theirs.word_ids().index(word) for word in words_with_tokens}
    shift = np.cumsum([word not in words_with_tokens for word in range(len(ODD))])
    for word, place in firsts.items():
        assert segments.words[place + shift[word]] == word


@pytest.mark.parametrize("kind", KINDS)
def test_equal_texts_give_equal_vocabularies(kind):
    from flaxner.models.scratch import TOKENIZERS

    made = [TOKENIZERS[kind](iter(TEXTS * 3), 340).backend_tokenizer.to_str() for _ in range(3)]
    assert len(set(made)) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "unigram" in kind])
def test_a_frequent_separate_word_is_one_piece(kind):
    from flaxner.models.scratch import TOKENIZERS

    names = [f"{a}{b}" for a in ("Ka", "Mo", "Ri", "Su") for b in ("len", "tor", "vik", "zan")]
    texts = [f"{one} and {two}" for one, two in itertools.permutations(names, 2)]
    tokenizer = TOKENIZERS[kind](iter(texts), 40)
    assert tokenizer.tokenize("and") == ["▁and"]
    assert len(tokenizer) <= 40


def spaceless():
    """RoBERTa's tokenizer as on the Hub: words given one by one would run together."""
    from transformers import RobertaTokenizer

    made = tokenizer_of_kind("byte_bpe")
    model = json.loads(made.backend_tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(vocab=model["vocab"], merges=merges, add_prefix_space=False)


def test_a_byte_level_tokenizer_gets_a_prefix_space_and_keeps_it(tmp_path):
    tokenizer, spaced = spaceless(), tokenizer_of_kind("byte_bpe")
    words = ["Oslo", "is", "near"]
    right = spaced(words, is_split_into_words=True)["input_ids"]
    assert tokenizer(words, is_split_into_words=True)["input_ids"] != right
    assert align([Sentence(tuple(words))], tokenizer, None, 32).input_ids.tolist() == right
    plain = tokenizer.backend_tokenizer.to_str()
    words_backend(tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == plain, "only a copy may change for given words"
    assert give_prefix_space(tokenizer)
    assert not give_prefix_space(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again(words, is_split_into_words=True)["input_ids"] == right
    assert not give_prefix_space(again)


def with_specials(kind, kept):
    """Return a tokenizer that puts only [CLS], only [SEP], both or nothing around a text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    made = tokenizer_of_kind(kind)
    backend = plain_backend(made)
    cls, sep = made.cls_token, made.sep_token
    around = {"cls": f"{cls} $A", "sep": f"$A {sep}", "both": f"{cls} $A {sep}", "": "$A"}[kept]
    specials = [(cls, made.cls_token_id), (sep, made.sep_token_id)]
    own = processors.TemplateProcessing(single=around, special_tokens=specials)
    trimmed = [processors.ByteLevel(trim_offsets=True)] if kind == "byte_bpe" else []
    backend.post_processor = processors.Sequence([*trimmed, own])
    names = {name: str(token) for name, token in made.special_tokens_map.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", ["", "cls", "sep", "both"])
def test_words_get_the_special_tokens_of_the_models_own_tokenizer(kind, kept):
    """Whoever trained such a model elsewhere let its tokenizer put them there."""
    tokenizer = with_specials(kind, kept)
    few, many = TEXTS[0].split(), TEXTS[1].split() * 3
    sentences = [Sentence(tuple(words)) for words in (few, (), many, few)]
    wanted = tokenizer(few, is_split_into_words=True)["input_ids"]
    around = (kept in ("cls", "both"), kept in ("sep", "both"))
    room = len(wanted) + 2
    segments = align(sentences, tokenizer, None, room)
    assert segments.input_ids[: len(wanted)].tolist() == wanted
    assert segments.lengths[1] == sum(around)
    assert segments.lengths.max() <= room
    windows = in_documents(segments, [0, 0, 1, 1], room)
    for one in (segments, windows):
        count = sum(len(sentence.words) for sentence in sentences)
        assert sorted(one.words[one.words >= 0].tolist()) == list(range(count))
        edges = one.input_ids[one.starts[:-1]], one.input_ids[one.starts[1:] - 1]
        ids = tokenizer.cls_token_id, tokenizer.sep_token_id
        for there, at, token in zip(around, edges, ids, strict=True):
            assert (at == token).all() if there else token not in at
    assert windows.lengths[0] == len(wanted), "an empty sentence adds nothing"


@pytest.mark.parametrize("kept", ["", "cls", "both"])
def test_words_are_tagged_as_torch_does_with_the_models_own_special_tokens(kept, tmp_path):
    torch = pytest.importorskip("torch")
    tokenizer = with_specials("wordpiece", kept)
    sizes = {"vocab_size": len(tokenizer), "num_labels": len(SCHEME), "initializer_range": 0.3}
    model = Model(tiny_config(**sizes))
    folder = export_folder(tmp_path / "hub", model, model.init(3), SCHEME, tokenizer)
    sentences, wanted = [text.split() for text in TEXTS], []
    theirs = torch_pipeline(folder)
    for words in sentences:
        inputs = theirs.tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            labels = theirs.model(**inputs).logits[0].argmax(-1).tolist()
        firsts = [inputs.word_ids().index(word) for word in range(len(words))]
        wanted.append([SCHEME.tags[labels[first]] for first in firsts])
    ours = pipeline("ner", model=str(folder))
    assert ours.predict_words(sentences, decoder="argmax") == wanted


def test_the_comparison_with_torch_pads_without_a_padding_token(tmp_path):
    """`transformers` pads only with a token."""
    pytest.importorskip("torch")
    tokenizer = with_specials("wordpiece", "both")
    tokenizer.pad_token = None
    model = Model(tiny_config(vocab_size=len(tokenizer), num_labels=len(SCHEME)))
    params = model.init(3)
    export_folder(tmp_path, model, params, SCHEME, tokenizer)
    assert load_tokenizer(tmp_path).pad_token is None
    probe = Probe.of(model, params, tmp_path, [text.split() for text in TEXTS])
    assert any((batch["attention_mask"] == 0).any() for batch in probe.batches)
    assert probe.difference(in_torch(tmp_path)) < SCORES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", ["", "cls", "sep"])
def test_a_published_tokenizer_puts_special_tokens_around_texts_as_training_does(
    kind, kept, tmp_path
):
    made = tokenizer_of_kind(kind)
    wanted = plain_backend(made).encode("Oslo", add_special_tokens=False).ids
    wanted = [made.cls_token_id, *wanted, made.sep_token_id]
    given = with_specials(kind, kept)
    given.init_kwargs["add_bos_token"] = False  # `transformers` then makes its own template
    save_tokenizer(given, tmp_path / "given")
    (tmp_path / "given" / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = load_tokenizer(tmp_path / "given")
    assert tokenizer("Oslo")["input_ids"] != wanted
    [said] = read_as_trained(tokenizer)
    assert f"puts {made.cls_token} and {made.sep_token} around a text" in said
    assert read_as_trained(tokenizer) == []
    save_tokenizer(tokenizer, tmp_path / "published")
    (tmp_path / "published" / "config.json").write_text('{"model_type": "bert"}')
    again = load_tokenizer(tmp_path / "published")
    assert again("Oslo")["input_ids"] == wanted
    assert align([Sentence(("Oslo",))], again, None, 32).input_ids.tolist() == wanted
    if kept == "":
        before, after = (
            one(" Ann  Lee", return_offsets_mapping=True)["offset_mapping"]
            for one in (given, again)
        )
        assert after == [(0, 0), *before, (0, 0)]


def test_a_published_tokenizer_has_the_names_that_transformers_4_reads(tmp_path):
    from transformers import PreTrainedTokenizerFast

    made = tokenizer_of_kind("wordpiece")
    names = {name: str(token) for name, token in made.special_tokens_map.items()}
    backend, extra = made.backend_tokenizer, ["<ent>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **names | {"extra_special_tokens": extra}
    )
    save_model_files(tmp_path, tokenizer, {"model_type": "bert"})
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == extra
    assert "extra_special_tokens" not in settings
    again, text = load_tokenizer(tmp_path), "Ann <ent> of Oslo"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.extra_special_tokens == tokenizer.extra_special_tokens == extra


@pytest.mark.parametrize("kind", KINDS)
def test_punctuation_is_split_off_in_running_text_as_in_corpora(kind):
    text = "Ann Lee  (Oslo) met U.N., in Paris!"
    reading = Reader(tokenizer_of_kind(kind), 64).read([text])
    tokens = reading.tokens
    edges = np.flatnonzero(np.diff(tokens.words, prepend=-1))
    words = [
        text[tokens.starts[a] : tokens.ends[b - 1]].strip()
        for a, b in itertools.pairwise([*edges.tolist(), len(tokens.words)])
    ]
    parted = ["Ann", "Lee", "(", "Oslo", ")", "met", "U", ".", "N", ".", ",", "in", "Paris", "!"]
    if "unigram" in kind:  # a piece may contain letters and their punctuation, and is not split
        parted[6:11] = ["U.N.", ","]
    if kind == "byte_bpe":  # GPT-2's pattern keeps adjacent punctuation together
        parted = ["Ann", "Lee", "(", "Oslo", ")", "met", "U", ".", "N", ".,", "in", "Paris", "!"]
        words = [word for word in words if word]
    assert words == parted


def test_a_lone_space_mark_belongs_to_the_next_token():
    """XLM-RoBERTa's has the offsets of that token's character, DeBERTa's those of the space."""
    text = "in (a)."
    for lone in ((3, 4), (2, 3)):
        offsets = [(0, 2), lone, (3, 4), (4, 5), (5, 6), (6, 7)]
        assert words_apart(text, offsets, [0, 1, 1, 1, 1, 1]) == [0, 1, 1, 2, 3, 4]


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    tokenizer = tokenizer_of_kind(request.param)
    # At 0.5, torch in float32 differs from torch in float64 by 7e-6, and so do we.
    sizes = {"vocab_size": len(tokenizer), "num_labels": len(SCHEME), "initializer_range": 0.3}
    model = Model(tiny_config(**sizes, max_position_embeddings=512))
    where = tmp_path_factory.mktemp(request.param) / "hub"
    return export_folder(where, model, model.init(3), SCHEME, tokenizer)


def texts(count, seed):
    """Sentences and nonsense: punctuation, blanks, scripts, symbols, texts that look empty."""
    rng = random.Random(seed)
    words = [word for text in TEXTS for word in text.split()] + list(ODD)
    blanks = (" ", " ", " ", "  ", "\t", "\n", "", " ", "\u3000")
    made = []
    for _ in range(count):
        parts = (rng.choice(words) + rng.choice(blanks) for _ in range(rng.randint(1, 14)))
        made.append("".join(parts))
    blocks = ((33, 0x24F), (0x370, 0x9FF), (0x3040, 0x30FF), (0x1F300, 0x1F6FF))
    letters = [" ", *(chr(rng.randint(*rng.choice(blocks))) for _ in range(99))]
    made += ["".join(rng.choices(letters, k=rng.randint(1, 20))) for _ in range(count // 3)]
    return [text for text in made if text.strip()]


def random_texts(count, seed):
    """Characters of every plane that has any: assigned or not, marks, controls, no surrogates."""
    rng = random.Random(seed)
    planes = ((1, 0x24F), (0x250, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x2FFFF))

    def letter():
        return chr(rng.randint(*rng.choice(planes))) if rng.random() < 0.8 else " "

    return ["".join(letter() for _ in range(rng.randint(1, 40))) for _ in range(count)]


def compare(folder, theirs, given):
    """Check every entity against torch's pipeline: words, offsets, labels; scores to 1e-5.

    Texts over the model's length are cut, as torch's pipeline does; ours would use windows.
    """
    ours = pipeline("ner", model=str(folder))
    for strategy in STRATEGIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = ours(given, aggregation_strategy=strategy, truncation=True)
            expected = theirs(given, aggregation_strategy=strategy)
        for text, one, two in zip(given, got, expected, strict=True):
            assert largest_difference([one], [two]) < SCORES, (strategy, text)
        assert sum(map(len, got)) > len(given)


def is_tied(theirs, text):
    """Whether some token has two labels equally likely in torch, as far as float32 can tell."""
    import torch

    inputs = theirs.tokenizer(text, return_tensors="pt", truncation=True)
    with torch.no_grad():
        likely = theirs.model(**inputs).logits[0].softmax(-1).topk(2).values
    return bool((likely[:, 0] - likely[:, 1]).min() < SCORES)


def test_the_pipeline_answers_as_torchs(folder):
    compare(folder, remembering(torch_pipeline(folder)), texts(45, 1))


@pytest.mark.slow
@pytest.mark.shared
def test_the_pipeline_answers_as_torchs_on_three_thousand_texts(folder, shared_data):
    theirs = remembering(torch_pipeline(folder))
    given = [t for t in real_sentences(shared_data)[:2000] + random_texts(1000, 2) if t.strip()]
    clear = [text for text in given if not is_tied(theirs, text)]
    assert len(given) - len(clear) < 30
    compare(folder, theirs, clear)


def test_entities_are_cut_from_running_text_at_word_borders(folder):
    ner = pipeline("ner", model=str(folder), aggregation_strategy="word")
    for text, entities in zip(texts(30, 4), ner(texts(30, 4)), strict=True):
        for entity in entities:
            cut = text[entity["start"] : entity["end"]]
            assert cut == entity["text"] == cut.strip(), (text, entity)
    for text in ("\t", " \t", " \n "):  # white space is no entity
        assert ner(text, ignore_labels=[]) == []
    mixed = ner(["\t", "Ann \t in", "\n"], ignore_labels=[])
    assert [bool(entities) for entities in mixed] == [False, True, False]
    assert all(entity["text"].strip() for entities in mixed for entity in entities)


def test_entities_are_numbered_by_the_words_of_the_text(folder):
    """With repeated spaces, punctuation within words, and windows that begin within a word."""
    ner = pipeline("ner", model=str(folder), aggregation_strategy="word", ignore_labels=[])
    given = ["Ann  Lee\n\nin\tLondon. Merkel's U.S. (visit)", " [SEP] Ann </s>  <s> Lee ", *ODD]
    given += ["\x1c Ann \x1d\x1e of\x1fOslo \x1c", "\x1d"]  # white space in Python alone
    for text in given:
        words = ner.split_words(text)
        assert all(word == word.strip() != "" for word in words)
        found = ner(text)
        assert sum(e["end_word"] - e["start_word"] for e in found) == len(words), text
        _numbered_as(words, found)
    assert "London" in ner.split_words(given[0])
    for long in (given[0] * 40, "Ann \n\n  Lee" + " in London" * 120):
        words = ner.split_words(long)
        for options in ({}, {"stride": 7}, {"truncation": True}):
            _numbered_as(words, ner(long, **options), cut=bool(options))
        assert max(e["end_word"] for e in ner(long, stride=7)) == len(words)


def _numbered_as(words, entities, *, cut=False):
    for entity in entities:
        words_of_it = words[entity["start_word"] : entity["end_word"]]
        named, text = ("".join(part.split()) for part in ("".join(words_of_it), entity["text"]))
        # A window may begin or end in the middle of a word.
        assert named == text or (cut and text in named and text not in named[1:-1]), entity


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_text_is_read_as_among_others(kind):
    """A single text takes a shortcut through the code."""
    for options in ({}, {"truncation": True}, {"stride": 2}):
        reader = Reader(tokenizer_of_kind(kind), 24, **options)
        for text in (*TEXTS, *ODD, ""):
            alone, among = reader.read([text]), reader.read([text, ""])
            size = len(alone.tokens.input_ids)
            for name in ("input_ids", "starts", "ends", "words", "numbers", "source"):
                ours, theirs = getattr(alone.tokens, name), getattr(among.tokens, name)
                assert (ours.tolist(), ours.dtype) == (theirs[:size].tolist(), theirs.dtype), name
            sequences = len(alone.tokens.owners)
            assert alone.tokens.borders.tolist() == among.tokens.borders.tolist()[: sequences + 1]
            assert alone.tokens.owners.tolist() == among.tokens.owners.tolist()[:sequences]
            segments = len(alone.starts)
            assert alone.starts.tolist() == among.starts.tolist()[:segments]
            assert alone.input_ids.tolist() == among.input_ids.tolist()[: alone.starts[-1]]
            assert alone.input_ids.dtype == among.input_ids.dtype
            assert (alone.texts, alone.longest) == (among.texts[:1], among.longest)
