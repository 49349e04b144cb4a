"""Our pipeline against `transformers`' own on a tiny model, and our additions to it."""

import copy
import json
import threading

import numpy as np
import pytest

from flaxner.data.labels import LabelScheme
from flaxner.data.tag_rules import rules
from flaxner.inference.engines import Request, choose
from flaxner.inference.jax_engine import find_devices
from flaxner.inference.options import Options
from flaxner.inference.pipeline import pipeline
from flaxner.inference.rows import PACKED_LENGTH, make_batches
from flaxner.inference.texts import READERS
from tests.pipelines import ODD, SCORES, STRATEGIES, TAGS, edited, largest_difference, make_folder
from tests.wordpiece import TEXTS


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stride", [None, 7])
def test_pipeline_equals_hf(ours, theirs, strategy, stride):
    if stride and strategy == "none":
        with pytest.raises(ValueError, match="stride needs an aggregation_strategy"):
            ours(["a"], aggregation_strategy=strategy, stride=stride)
        return
    texts = [*TEXTS, *ODD, " ".join(TEXTS), " ".join(TEXTS * 3)]
    call = {"aggregation_strategy": strategy, "stride": stride}
    got = ours(texts, **call, truncation=True)
    assert largest_difference(got, theirs(texts, **call)) < SCORES
    assert sum(map(len, got)) > 25
    assert len({e.get("entity", e.get("entity_group")) for es in got for e in es}) > 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_words_equal_hf(ours, theirs, strategy):
    sentences = [text.split() for text in TEXTS] + [["x\u200b", "\u200b", "New York"], ["Berlin"]]
    call = {"aggregation_strategy": strategy, "is_split_into_words": True}
    assert largest_difference(ours(sentences, **call), theirs(sentences, **call)) < SCORES
    call["delimiter"] = "--"
    assert largest_difference(ours(sentences, **call), theirs(sentences, **call)) < SCORES


def test_ignored_labels_equal_hf(ours, theirs):
    for ignored in ([], ["O", "PER"], ["B-PER"], ["LOC"]):
        for strategy in STRATEGIES:
            call = {"aggregation_strategy": strategy, "ignore_labels": ignored}
            assert largest_difference(ours([*TEXTS], **call), theirs([*TEXTS], **call)) < SCORES


def test_shapes_of_answers_equal_hf(ours, theirs):
    for inputs in (TEXTS[0], [TEXTS[0]], list(TEXTS), ""):
        a, b = ours(inputs), theirs(inputs)
        assert isinstance(a, list)
        # Ours are list subclasses with a rich display in notebooks.
        kinds = [[list if isinstance(x, list) else type(x) for x in side] for side in (a, b)]
        assert kinds[0] == kinds[1]
        assert len(a) == len(b)
    words = TEXTS[0].split()
    a, b = (p(words, is_split_into_words=True) for p in (ours, theirs))
    assert largest_difference(a, b) < SCORES
    stream = ours(text for text in TEXTS)
    assert not isinstance(stream, list)
    assert list(stream) == ours(list(TEXTS))


def test_a_long_text_is_never_cut(ours, caplog):
    """Every word of a text of many windows is answered once, with context on both sides."""
    text = " ".join(TEXTS * 12)
    ours._said = False
    found = ours(text, aggregation_strategy="word", ignore_labels=[], decoder="argmax")
    assert sum(e["end_word"] - e["start_word"] for e in found) == len(ours.split_words(text))
    assert [e["end_word"] for e in found[:-1]] == [e["start_word"] for e in found[1:]]
    assert max(entity["end"] for entity in found) == len(text)
    tokens = ours(text, ignore_labels=[])
    assert [e["index"] for e in tokens] == list(range(1, len(tokens) + 1))
    assert len(tokens) == len(ours.tokenizer.tokenize(text))
    assert [r.message for r in caplog.records if "overlapping windows" in r.message]
    assert len(ours(text, ignore_labels=[], truncation=True)) == 62  # 64 less two special tokens


def test_a_word_that_exceeds_a_window_is_announced(ours, caplog):
    ours.words._said = False
    fits, long = ".".join("a" * 31), "a." * 40
    for words in ([fits], ["in", long], [long]):
        assert len(ours.predict_words([["x"], words])[1]) == len(words)
    [said] = [record.message for record in caplog.records]
    assert said == (
        f"the word {long[:20] + '…'!r} has more tokens than fit a window of 64: the rest is not "
        "read; shown once"
    )


def test_a_changed_tokenizer_applies_to_later_answers(folder):
    """As `NerPipeline.tokenizer` promises, whether or not a text was read before the change."""
    ner, fresh = (pipeline("ner", model=folder, ignore_labels=[]) for _ in range(2))
    text = " ".join(TEXTS * 12)
    right = ner(text, truncation=True)
    assert [entity["word"] for entity in ner("x [SEP] y")].count("[SEP]") == 1
    for each in (ner, fresh):
        each.tokenizer.truncation_side = "left"
        each.tokenizer.split_special_tokens = True
    left = ner(text, truncation=True)
    assert left == fresh(text, truncation=True) != right
    assert left[-1]["end"] == len(text) > right[-1]["end"]
    apart = [entity["word"] for entity in ner("x [SEP] y")]
    assert len(apart) == len(ner.tokenizer.tokenize("x [SEP] y", split_special_tokens=True)) == 5
    assert "[SEP]" not in apart


def test_few_text_readers_are_cached(ours):
    """Strides that count up do not fill the memory, and checking a stride creates no reader."""
    options = ours.options.changed({"aggregation_strategy": "simple"})
    for stride in range(20):
        ours.texts.check(options.changed({"stride": stride}))
    assert ours.texts._readers.cache_info().misses < 5
    with pytest.raises(ValueError, match="stride must be at least 0 and less than the 62 tokens"):
        ours.texts.check(options.changed({"stride": 62}))
    for stride in range(20):
        ours("a", aggregation_strategy="simple", stride=stride)
    assert ours.texts._readers.cache_info().currsize == READERS


def test_short_windows_agree_with_one_long_window(tmp_path):
    """A word far from its window's borders gets the same label, whatever the window."""
    long = pipeline("ner", model=make_folder(tmp_path / "hub", max_position_embeddings=512))
    text = " ".join(TEXTS * 2)
    whole = long.predict_words([long.split_words(text)])[0]
    entities = long(text, aggregation_strategy="word")
    from_spans = ["O"] * len(whole)
    for entity in entities:
        kind, low, high = (entity[k] for k in ("entity_group", "start_word", "end_word"))
        from_spans[low:high] = [f"B-{kind}", *[f"I-{kind}"] * (high - low - 1)]
    assert from_spans == whole


def test_word_strategy_keeps_the_text_and_obeys_the_scheme(ours):
    text = "  New-York,Berlin  and\tMountain View ."
    for entity in ours(text, aggregation_strategy="word"):
        assert entity["text"] == text[entity["start"] : entity["end"]]
    scheme = LabelScheme(TAGS)
    starts, follows, _ = rules(scheme.tags, "IOB2")
    tags = ours.predict_words([text.split() for text in TEXTS])
    illegal = 0
    for decoder in ("viterbi", "argmax"):
        for row in ours.predict_words([t.split() for t in TEXTS], decoder=decoder):
            ids = scheme.encode(row)
            bad = not starts[ids[0]]
            bad |= not follows[ids[:-1], ids[1:]].all()
            assert not (bad and decoder == "viterbi")
            illegal += bad
    assert illegal, "argmax must break a rule, or the test is vacuous"
    likeliest = copy.copy(ours)
    likeliest.options = Options().changed(
        {"decoder": "argmax"}
    )  # applies to words only: the texts' strategy is "none"
    assert likeliest(TEXTS[0]) == ours(TEXTS[0])
    with pytest.raises(ValueError, match='"simple" decodes no tag sequences'):
        Options().changed({"decoder": "argmax", "aggregation_strategy": "simple"})
    words = [text.split() for text in TEXTS]
    assert likeliest.predict_words(words) == ours.predict_words(words, decoder="argmax") != tags
    assert [len(row) for row in tags] == [len(text.split()) for text in TEXTS]


def test_threads_and_streams_answer_the_same(ours):
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(80)]
    expected = ours(texts)
    answers = {}

    def work(number):
        answers[number] = list(ours.stream(iter(texts)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got in answers.values():
        assert largest_difference(got, expected) < SCORES
    assert len(answers) == 4


def test_a_stream_reads_only_a_little_ahead(ours):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield TEXTS[taken % 4]

    stream = ours(endless())
    first = [next(stream) for _ in range(3)]
    assert largest_difference(first, [ours(TEXTS[i % 4]) for i in (1, 2, 3)]) < SCORES
    assert taken < 1000


def test_compilations_are_few(folder):
    import jax

    fresh = pipeline("ner", model=folder, device=jax.devices()[0])
    fresh([TEXTS[0]])
    for size in (1, 3, 40, 150, 700):
        fresh([*TEXTS] * size)
    assert len(set(fresh.predictor.traces)) == len(fresh.predictor.traces) <= 4


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("rows", [1, 9, 100, 250, 700])
def test_few_batches_even_if_they_are_large(rows, devices):
    ids = np.arange(1, rows * devices * PACKED_LENGTH + 1, dtype=np.int32)
    starts = np.arange(0, len(ids) + 1, PACKED_LENGTH)
    made = list(make_batches(ids, starts, limit=512, devices=devices, tokens_per_device=32768))
    assert len(made) <= rows // 256 + 8 + 8
    assert {len(batch.inputs[0]) for batch in made} <= {256 * devices, 16 * devices, devices}
    taken = [batch.inputs[0].reshape(-1)[batch.cells] for batch in made]
    assert np.array_equal(np.sort(np.concatenate(taken)), ids)
    assert sum(batch.inputs[0].size for batch in made) < 2 * len(ids) + 1


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "at least one text"),
        (7, {}, "a text, a list of texts, a data set or an iterator: got int"),
        (["a", 7], {}, "must be a string: got int '7'"),
        ("a", {"decoder": "argmax"}, '"none" decodes no tag sequences'),
        ("a", {"decoder": "viterbi", "aggregation_strategy": "max"}, "decodes no tag sequences"),
        ([["a", "b"]], {}, "is_split_into_words=True"),
        ("a b", {"is_split_into_words": True}, "must be a list of words"),
        ([["a", None]], {"is_split_into_words": True}, "a word must be a string"),
        ("a", {"aggregation_strategy": "sum"}, "must be one of none, simple"),
        ("a", {"stride": 62, "aggregation_strategy": "simple"}, "less than the 62 tokens"),
        ("a", {"strides": 1}, "unknown pipeline option 'strides'"),
        ("a", {"aggregation_strategy": 3}, "must be a string: got 3"),
        ("a", {"ignore_labels": 3}, "ignore_labels must be a list of labels: got 3"),
        ("a", {"ignore_labels": b"O"}, "ignore_labels must be a list of labels: got b'O'"),
        ("a", {"stride": "7"}, "stride must be a whole number: got '7'"),
        ("a", {"stride": True, "aggregation_strategy": "simple"}, "a whole number: got True"),
        (b"a", {}, "got bytes"),
        ({"text": "a"}, {}, "got dict"),
        ("a\ud800b", {}, "half of a surrogate pair"),
        ([["a", "\udfff"]], {"is_split_into_words": True}, "half of a surrogate pair"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(ours, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        ours(inputs, **options)


def test_a_negative_device_is_the_cpu(folder):
    """As in `transformers`, with either engine; it never counts back from the last device."""
    import jax

    assert find_devices(-1) == find_devices(-2) == jax.devices("cpu")[:1]
    pytest.importorskip("onnxruntime")
    assert choose("onnx", Request(folder), -2) == choose("onnx", Request(folder), -1) == "onnx"


def test_a_folder_that_is_no_token_classifier_is_refused(folder, tmp_path):
    cases = {
        "no id2label": lambda f: f.pop("id2label"),
        "is not a token classifier": lambda f: f.update(architectures=["BertForMaskedLM"]),
        "model of type 'gpt2'": lambda f: f.update(model_type="gpt2"),
    }
    for number, (message, edit) in enumerate(cases.items()):
        with pytest.raises(ValueError, match=message):
            pipeline("ner", model=edited(folder, tmp_path / str(number), edit))

    def without_tokenizer(fields):
        for file in (tmp_path / "bare").glob("token*"):
            file.unlink()

    with pytest.raises(ValueError, match="has no tokenizer"):
        pipeline("ner", model=edited(folder, tmp_path / "bare", without_tokenizer))
    for labels, message in (
        (["O"], "5 labels, but 1 names"),
        ({"a": "O"}, "must be numbers: got a"),
        ([0, 1, 2, 3, 4], "with a string"),
    ):
        with pytest.raises(ValueError, match=message):
            pipeline("ner", model=folder, id2label=labels)
    for number, ours in enumerate(("x", {"max_length": "x"}, {"max_length": 2})):
        wrong = edited(folder, tmp_path / f"ours{number}", lambda f, o=ours: f.update(flaxner=o))
        with pytest.raises(ValueError, match="in 'flaxner'"):
            pipeline("ner", model=wrong)
    with pytest.raises(ValueError, match="a folder, a Hub name or a flaxner model: got int '5'"):
        pipeline("ner", model=5)
    with pytest.raises(ValueError, match="no model is given"):
        pipeline("ner")
    for device in ("cuda:99", "cpu:-1", True):
        with pytest.raises(ValueError, match=f"unknown device {device!r}"):
            pipeline("ner", model=folder, device=device, engine="jax")
    with pytest.raises(ValueError, match="task must be one of"):
        pipeline("fill-mask", model=folder)


def test_labels_without_names_can_be_given_names(folder, ours, tmp_path):
    def bare(fields):
        del fields["id2label"], fields["label2id"]

    named = pipeline("ner", model=edited(folder, tmp_path / "bare", bare), id2label=TAGS)
    assert named(list(TEXTS)) == ours(list(TEXTS))


def test_a_slow_tokenizer_is_refused(folder):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"is slow \(Slow\): flaxner needs a fast one"):
        pipeline("ner", model=folder, tokenizer=Slow())


def test_streams_show_progress_on_request_and_refuse_a_text(ours, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then treats the captured stream as a terminal
    got = list(ours.stream(list(TEXTS), progress=True, aggregation_strategy="word"))
    assert got == ours(list(TEXTS), aggregation_strategy="word")
    assert "texts" in capsys.readouterr().err
    for wrong in ("a text", 5):
        with pytest.raises(ValueError, match="needs an iterable of texts"):
            ours.stream(wrong)


@pytest.mark.slow
def test_streaming_texts_takes_constant_memory(ours):
    """Texts 5,000 to 9,000 take no more memory than the first 5,000."""
    import tracemalloc

    held = []
    stream = ours.stream(f"{TEXTS[i % 4]} {i}" for i in range(9000))
    tracemalloc.start()
    for done, _ in enumerate(stream, 1):
        if done in (5000, 9000):
            held.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert held[1] < 1.2 * held[0]


def test_warmup_compiles_every_shape(folder):
    import jax

    ner = pipeline("ner", model=folder, device=jax.devices()[0])
    ner.warmup()
    compiled = len(ner.predictor.traces)
    for size in (1, 2, 5, 40, 700):
        ner([*TEXTS] * size)
        ner([TEXTS[0][:9]] * size)
    assert len(ner.predictor.traces) == compiled


def test_bfloat16_finds_nearly_the_same(folder, ours):
    half = pipeline("ner", model=folder, dtype="bfloat16")
    a, b = (p.predict_words([t.split() for t in TEXTS]) for p in (half, ours))
    same = np.mean([x == y for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)])
    assert same > 0.8


def test_bioes_labels_are_read_as_spans(tmp_path):
    tags = ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    folder = make_folder(tmp_path / "hub")
    ner = pipeline("ner", model=folder, id2label=tags, aggregation_strategy="word")
    words = [text.split() for text in TEXTS]
    found = ner(words, is_split_into_words=True)
    for entities, row in zip(found, ner.predict_words(words), strict=True):
        begun = [i for i, tag in enumerate(row) if tag[:1] in "BS"]
        assert [e["start_word"] for e in entities] == begun
        assert {e["entity_group"] for e in entities} <= {"PER"}
    assert any(found)


def test_words_are_read_in_the_windows_of_training(tmp_path):
    """Sentences are read as in training, whatever length the model could take."""
    folder = make_folder(tmp_path / "hub", max_length=24)
    ner = pipeline("ner", model=folder)
    assert json.loads((folder / "config.json").read_text())["flaxner"] == {
        "scheme": "IOB2",
        "max_length": 24,
    }
    assert (ner.window, ner.predictor.limit) == (24, 64)
    long = [" ".join(TEXTS).split()]
    as_trained = ner.predict_words(long, decoder="argmax")
    assert as_trained == ner.predict_words(long, decoder="argmax", max_length=24)
    assert as_trained != ner.predict_words(long, decoder="argmax", max_length=64)
    as_trained = ner.predict_words(long)
    [entities] = ner(long, is_split_into_words=True, aggregation_strategy="word")
    begun = [i for i, tag in enumerate(as_trained[0]) if tag.startswith("B-")]
    assert [e["start_word"] for e in entities] == begun
    for wrong in (7, 65):
        with pytest.raises(ValueError, match="at least 8 and at most the 64 tokens"):
            ner.predict_words(long, max_length=wrong)
    # Other strategies answer as transformers does, which ignores this window.
    plain = pipeline("ner", model=make_folder(tmp_path / "plain"))
    text = " ".join(long[0])
    assert largest_difference([plain(text)], [ner(text)]) < SCORES


def test_the_scheme_of_a_foreign_model_is_found_from_its_answers(folder, tmp_path, monkeypatch):
    """Only answers tell IOB1 from IOB2; a model whose answers do not is left unconstrained."""
    foreign = edited(folder, tmp_path / "foreign", lambda fields: fields.pop("flaxner"))
    assert pipeline("ner", model=folder).scheme == "IOB2"
    assert pipeline("ner", model=foreign, scheme="IOB1").scheme == "IOB1"
    with pytest.raises(ValueError, match="scheme must be one of IO, IOB2"):
        pipeline("ner", model=foreign, scheme="BIO")
    for prefix, scheme in (("B", "IOB2"), ("I", "IOB1"), ("X", "any")):
        ner = pipeline("ner", model=foreign)
        _always(ner, monkeypatch, prefix)
        assert ner.scheme == scheme
    words = [text.split() for text in TEXTS]
    ner = pipeline("ner", model=foreign, scheme="any")
    assert ner.predict_words(words) == ner.predict_words(words, decoder="argmax")


def _always(ner, monkeypatch, prefix):
    """Make the model find a LOC at every fourth token, beginning with B- or I-."""

    class Answer:
        def __init__(self, size):
            self.size = size

        def result(self):
            logits = np.zeros((self.size, len(TAGS)), np.float32)
            logits[:, 0] = 1
            if prefix in "BI":
                logits[::4, TAGS.index(f"{prefix}-LOC")] = 2
            return logits

    monkeypatch.setattr(ner.predictor, "submit", lambda ids, starts: Answer(len(ids)))


def test_bmes_labels_are_read_as_spans(tmp_path):
    tags = ("O", "B-PER", "M-PER", "E-PER", "S-PER")
    ner = pipeline("ner", model=make_folder(tmp_path / "hub"), id2label=tags)
    assert ner.scheme == "BIOES"
    rows = ner.predict_words([text.split() for text in TEXTS])
    found = ner(
        [text.split() for text in TEXTS], is_split_into_words=True, aggregation_strategy="word"
    )
    for entities, row in zip(found, rows, strict=True):
        assert [e["start_word"] for e in entities] == [
            i for i, tag in enumerate(row) if tag[:1] in "BS"
        ]
    assert any(found)


def test_labels_without_prefixes_are_types_as_they_stand(tmp_path):
    labels = ("O", "E-mail", "phone-number", "PER", "LOC")
    ner = pipeline("ner", model=make_folder(tmp_path / "hub"), id2label=labels)
    words = [text.split() for text in TEXTS]
    found = ner(words, is_split_into_words=True, aggregation_strategy="word")
    tags = {tag for row in ner.predict_words(words) for tag in row}
    assert {entity["entity_group"] for row in found for entity in row} == tags - {"O"} != set()
