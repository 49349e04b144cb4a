"""The words that a tokenizer sees in a text if its normaliser divides them, too."""

import pytest

from flaxner.data.segments import align
from flaxner.data.sentence import Sentence
from flaxner.data.tokenizer import plain_backend
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.inference.aggregation import without_overlaps
from flaxner.inference.tokens import Reader
from flaxner.inference.word_numbers import Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("塔城工作", ["塔", "城", "工", "作"]),
        ("我在Tarvik 工作。", ["我", "在", "Tarvik", "工", "作", "。"]),
        ("Oda's U.S. [SEP]", ["Oda", "'", "s", "U", ".", "S", ".", "[", "SEP", "]"]),
        ("\u200bTarvik\u200b ok", ["Tarvik", "ok"]),
        ("  ", []),
    ],
)
def test_wordpiece_divides_ideographs_and_punctuation(text, words):
    backend = plain_backend(train_wordpiece(["Oda in Tarvik ok SEP US"] * 2, 200))
    backend.encode_special_tokens = True
    assert [text[a:b] for a, b in Words(backend).ranges(text)] == words


def test_the_space_added_by_sentencepiece_is_not_part_of_a_word():
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = [("<unk>", 0.0), ("\u2581Oda", -1.0), ("\u2581", -2.0), ("left", -2.0)]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    text = "Oda  left"
    assert [text[a:b] for a, b in Words(backend).ranges(text)] == ["Oda", "left"]


@pytest.mark.parametrize("size", [257, 400])  # spaces are tokens, or parts of tokens
@pytest.mark.parametrize("window", [3, 4, 5])
def test_windows_after_blanks_count_the_words_of_the_whole_text(size, window):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    text = "Oda  \n\n left" + " Tarvik on  foot" * 4
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, show_progress=False)
    backend.train_from_iterator([text] * 3, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    numbering = Words(backend)
    ranges = numbering.ranges(text)
    assert [text[start:end] for start, end in ranges] == text.split()

    windowed = Tokenizer.from_str(backend.to_str())
    windowed.enable_truncation(window)
    first = windowed.encode(text, add_special_tokens=False)
    counted = set()
    for piece in (first, *first.overflowing):
        numbers = numbering.numbers(text, piece.offsets, piece.word_ids, cut=True)
        for number, (start, end) in zip(numbers, piece.offsets, strict=True):
            if number >= 0 and text[start:end].strip():
                low, high = ranges[number]
                assert low <= end - len(text[start:end].strip()) < end <= high
                counted.add(number)
    assert counted == set(range(len(ranges)))


def unlettered():
    """A tokenizer without unknown token, that knows two letters and drops all others."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE({"[CLS]": 0, "[SEP]": 1, "北": 2, "京": 3}, []))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 0), ("[SEP]", 1)]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token=None
    )


@pytest.mark.parametrize("split", [False, True])
def test_a_vocabulary_may_lack_any_letter(split):
    tokenizer = unlettered()
    tokenizer.split_special_tokens = split
    reading = Reader(tokenizer, 16).read(["a 北京", "a", ""])
    assert reading.input_ids.tolist() == [0, 2, 3, 1, 0, 1, 0, 1]
    assert reading.tokens.starts.tolist() == [2, 3]


def test_a_word_without_token_and_unknown_token_is_named():
    tokenizer = unlettered()
    with pytest.raises(ValueError, match=r"must have a token for every word.* it has none for 'a'"):
        align([Sentence(("北", "a"))], tokenizer, None, 16)


def test_a_first_entity_without_characters_is_answered_as_by_transformers():
    """Entities of adjacent windows: "Ġ" before a space that is not there has no characters."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    theirs = transformers.TokenClassificationPipeline.aggregate_overlapping_entities
    places = [(0, 0), (0, 3), (1, 3), (3, 3), (3, 5)]
    for first in range(len(places)):
        entities = [{"start": a, "end": b, "score": 0.5} for a, b in places[first:]]
        assert without_overlaps(entities) == theirs(None, entities)
    assert without_overlaps([]) == []
