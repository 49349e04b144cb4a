"""Static and contextual vectors: good and bad files, pooling, measures, the whole study."""

import gzip
import io
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus, Sentence
from flaxner.embeddings import separation as compare
from flaxner.embeddings import static
from flaxner.embeddings.contextual import ContextualEncoder, parse_layers
from flaxner.embeddings.occurrences import ambiguous, find_all, of_words
from flaxner.embeddings.settings import parse_settings
from flaxner.evaluation.seen_unseen import split_scores, surfaces
from flaxner.models.network import Model
from tests.compare import assert_close
from tests.conll import sentences, write_conll
from tests.tiny import tiny_config
from tests.wordpiece import TEXTS, tiny_tokenizer

gensim = pytest.importorskip("gensim")
ROOT = Path(__file__).resolve().parent.parent
WORDS = ("Jordan", "river", "met", "café")
MATRIX = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def keyed_vectors():
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(5)
    vectors.add_vectors(list(WORDS), MATRIX)
    return vectors


def written(folder, kind):
    path = folder / {"binary": "v.bin", "text": "v.txt", "gzip": "v.txt.gz", "glove": "g.txt"}[kind]
    if kind == "glove":
        keyed_vectors().save_word2vec_format(str(path), write_header=False)
    else:
        keyed_vectors().save_word2vec_format(str(path), binary=kind == "binary")
    return path


@pytest.mark.parametrize("kind", ["binary", "text", "gzip", "glove"])
def test_vector_files_of_every_kind_are_read(tmp_path, kind):
    vectors = static.load_vectors(str(written(tmp_path, kind)))
    assert vectors.words == WORDS
    np.testing.assert_allclose(vectors.matrix, MATRIX, atol=1e-6)
    assert vectors.row("Café") == 3  # not found as written, so looked up in lower case
    assert vectors.row("Israel") is None


@pytest.mark.parametrize("kind", ["binary", "text", "gzip", "glove"])
def test_a_file_cut_short_is_refused(tmp_path, kind):
    path = written(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="truncated or damaged"):
        static.load_vectors(str(path))


@pytest.mark.parametrize("header", ["", "2 2\n"])
def test_numbers_between_tabs_are_not_part_of_the_word(tmp_path, header):
    path = tmp_path / "v.txt"
    path.write_text(f"{header}the\t0.1\t0.2\ncat\t0.3\t0.4\n")
    with pytest.raises(ValueError, match="has tabs between the numbers: replace them by spaces"):
        static.load_vectors(str(path))


def test_duplicate_words_and_words_with_spaces(tmp_path):
    path = tmp_path / "v.vec"
    path.write_text("3 2\nthe 0.1 0.2\ncat 0.3 0.4\nthe 0.5 0.6\n")
    vectors = static.load_vectors(str(path))
    assert (vectors.words, len(vectors.matrix)) == (("the", "cat"), 2)
    path.write_text("the 0.1 0.2\nat name@domain.com 0.3 0.4\n")
    with pytest.raises(ValueError, match=r"words with spaces, as in glove\.840B, are not supp"):
        static.load_vectors(str(path))


def test_settings_follow_the_model(tmp_path, capsys):
    for name, rate in (("tiny", 1e-3), ("tiny-roberta", 1e-3), ("x/y", 5e-5)):
        model = name if "/" in name else f"flaxner:{name}"
        assert parse_settings(["--model", model, "--tag-column", "1"]).config.learning_rate == rate
    config = TrainConfig(dataset="flaxner:embedded", seeds=2)
    for folder in ("", "seed-0", "seed-1"):
        (tmp_path / folder / "checkpoints").mkdir(parents=True)
        (tmp_path / folder / "config.toml").write_text(config.to_toml())
    with pytest.raises(SystemExit):
        parse_settings(["--model", str(tmp_path)])
    assert "holds 2 runs: name one of them, such as " in capsys.readouterr().err


def test_reading_flags_beside_a_run_apply_to_the_other_files(tmp_path, capsys):
    (tmp_path / "hub").mkdir()
    (tmp_path / "results.json").write_text("{}")
    config = TrainConfig(train_file="x.jsonl", tag_column="labels_fine")
    (tmp_path / "config.toml").write_text(config.to_toml())
    given = ["--model", str(tmp_path), "--corpus", "x.conll"]
    read = parse_settings(given)
    assert (read.config.tag_column, read.reading.tag_column) == ("labels_fine", None)
    read = parse_settings([*given, "--tag-column", "1"])
    assert (read.config.tag_column, read.reading.tag_column) == ("labels_fine", "1")
    with pytest.raises(SystemExit):
        parse_settings([*given, "--epochs", "2"])
    assert "brings its own settings: leave out --epochs" in capsys.readouterr().err


def test_pickles_are_refused_unopened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for name in ("vectors.kv", "vectors.bin"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match="save_word2vec_format"):
            static.load_vectors(str(path))
    assert not (tmp_path / "ran").exists()


def test_bad_sources_have_distinct_errors(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the vectors .*absent\.txt"):
        static.load_vectors(str(tmp_path / "absent.txt"))
    prose = tmp_path / "prose.txt"
    prose.write_text("no numbers here\n")
    with pytest.raises(ValueError, match="is not a word vector file"):
        static.load_vectors(str(prose))
    empty = tmp_path / "empty.txt.gz"
    empty.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="is not a word vector file"):
        static.load_vectors(str(empty))


def test_an_unreachable_downloader_is_a_one_line_error(tmp_path, monkeypatch, capsys):
    from gensim import downloader

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(downloader, "urlopen", offline)
    monkeypatch.setattr(downloader, "BASE_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"could not be reached; without a network"):
        static.load_vectors("word2vec-google-news-300")
    assert capsys.readouterr() == ("", "")


def test_a_name_unknown_to_the_downloader_is_refused(tmp_path, monkeypatch):
    from gensim import downloader

    answer = io.BytesIO(b'{"models": {"glove-x": {"file_name": "g.gz"}}, "corpora": {}}')
    monkeypatch.setattr(downloader, "urlopen", lambda *_, **__: answer)
    monkeypatch.setattr(downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(downloader, "base_dir", str(tmp_path), raising=False)
    with pytest.raises(ValueError, match="has no vectors of that name"):
        static.load_vectors("word2vec-of-nowhere")


def test_a_cached_download_needs_no_network(tmp_path, monkeypatch):
    from gensim import downloader

    monkeypatch.setattr(downloader, "BASE_DIR", str(tmp_path))
    (tmp_path / "some-vectors").mkdir()
    path = written(tmp_path, "gzip")
    path.rename(tmp_path / "some-vectors" / "some-vectors.gz")
    assert static.load_vectors("some-vectors").words == WORDS


def test_a_missing_gensim_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim", None)
    with pytest.raises(ValueError, match=r"pip install 'flaxner\[embeddings\]'"):
        static.load_vectors("word2vec-google-news-300")


def test_word2vec_training_is_reproducible():
    made = [static.train_vectors([text.split() for text in TEXTS * 3], "t", width=8) for _ in "ab"]
    assert made[0].words == made[1].words
    assert_close("exact", made[0].matrix, made[1].matrix)
    assert "Jordan" not in dict(made[0].neighbours("Jordan"))
    with pytest.raises(ValueError, match="not in the vocabulary"):
        made[0].vector("Atlantis")


def encoder(layers=(1, 2), pooling="mean", max_length=32):
    tokenizer = tiny_tokenizer()
    model = Model(tiny_config(vocab_size=len(tokenizer), max_position_embeddings=128))
    return ContextualEncoder(
        "tiny", model, model.init(0), tokenizer, layers, max_length=max_length, pooling=pooling
    )


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_packed_words_are_pooled_as_if_encoded_one_by_one(pooling):
    """Against a plain reference: one sentence at a time, layers and tokens averaged by hand."""
    made = encoder(pooling=pooling, max_length=128)
    texts = [Sentence(tuple(text.split())) for text in TEXTS]
    got = made.encode(texts)
    every = jax.jit(lambda params, *x: made.model.bind(params).encode(*x, all_layers=True))
    expected = []
    for sentence in texts:
        pieces = [made.tokenizer(w, add_special_tokens=False)["input_ids"] for w in sentence.words]
        ids = [made.tokenizer.cls_token_id, *itertools.chain(*pieces), made.tokenizer.sep_token_id]
        padded = np.zeros((1, 128), np.int32)  # one length: one compilation
        padded[0, : len(ids)] = ids
        states = every(made.params, padded, np.int32(np.arange(128)[None] < len(ids)))
        hidden = (np.asarray(states[1][0]) + np.asarray(states[2][0])) / 2
        at = 1
        for piece in pieces:
            tokens = hidden[at : at + len(piece)]
            expected.append(tokens.mean(axis=0) if pooling == "mean" else tokens[0])
            at += len(piece)
    np.testing.assert_allclose(got, np.stack(expected), atol=1e-5)


def test_a_sentence_is_encoded_once():
    made = encoder()
    texts = [Sentence(tuple(text.split())) for text in TEXTS]
    whole = made.encode(texts)
    made._states = None  # a second encoding would call it
    first, last = len(texts[0].words), len(texts[-1].words)
    again = made.encode([texts[-1], texts[0]])
    assert_close("exact", again, np.concatenate([whole[-last:], whole[:first]]))


def test_windows_pool_a_words_own_tokens_only():
    made = encoder(layers=(0,), max_length=12)  # layer 0 depends on token and position only
    words = tuple(" ".join(TEXTS).split())
    segments_owned = made.encode([Sentence(words)])
    assert segments_owned.shape == (len(words), 32)
    from flaxner.data.segments import align

    segments = align([Sentence(words)], made.tokenizer, None, 12)
    owners = made._owners(segments, [Sentence(words)])
    for word, text in enumerate(words):
        own = made.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert segments.input_ids[owners == word].tolist() == own[:10]


def test_layers():
    assert parse_layers("mean", 6) == (1, 2, 3, 4, 5, 6)
    assert parse_layers("last", 6) == (6,)
    assert parse_layers("0,-1,-2", 6) == (0, 6, 5)
    for wrong in ("7", "x", ""):
        with pytest.raises(ValueError, match="--layers must be"):
            parse_layers(wrong, 6)


def test_silhouette_equals_scikit_learn_and_is_0_for_equal_vectors():
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(0)
    vectors, kinds = rng.normal(size=(30, 6)), rng.choice(["PER", "LOC", "ORG"], 30).tolist()
    expected = silhouette_score(vectors, kinds, metric="cosine")
    assert compare.silhouette(vectors, kinds) == pytest.approx(expected)
    same = np.tile(vectors[:1], (30, 1)).astype(np.float32)
    assert compare.silhouette(same, kinds) == 0.0
    assert compare.silhouette(np.zeros_like(same), kinds) == 0.0


WASHINGTON = [
    Sentence(("Washington", "spoke", str(i)), ("B-person", "O", "O")) for i in range(6)
] + [Sentence(("in", "Washington", str(i)), ("O", "B-location", "O")) for i in range(4)]


def test_ambiguous_forms_and_their_separation():
    found = find_all(WASHINGTON)
    places = ambiguous(found)
    assert list(places) == ["Washington"]
    kinds = [o.type for o in places["Washington"]]
    assert kinds == ["PER"] * 6 + ["LOC"] * 4
    vectors = np.zeros((30, 4), np.float32)
    vectors[:, 0] = 1.0
    static_like = compare.separation(vectors, places)
    assert static_like.accuracy == static_like.majority == 0.6
    for o in places["Washington"]:
        vectors[o.row] = [1.0, 0, 0, 0] if o.type == "PER" else [0, 1.0, 0, 0]
    told = compare.separation(vectors, places)
    assert (told.accuracy, told.silhouette) == (1.0, 1.0)
    with pytest.raises(ValueError, match=r"'Washingtan' does not occur.*'Washington'"):
        of_words(found, ["Washingtan"])


def test_seen_and_unseen_names_are_scored_separately():
    sentence = Sentence(("Ann", "met", "Bob", "Ray"), ("B-PER", "O", "B-PER", "I-PER"))
    known = surfaces([Sentence(("Ann",), ("B-PER",))])
    corpus = Corpus([sentence], "t", "IOB2", 0)
    got = split_scores(corpus, [["B-PER", "O", "B-PER", "O"]], known)
    assert got["seen"]["f1"] == 1.0
    assert got["unseen"]["f1"] == 0.0
    assert got["all"]["f1"] == pytest.approx(0.5)
    assert [got[part]["entities"] for part in ("all", "seen", "unseen")] == [2, 1, 1]


def test_every_word_has_a_safe_figure_name():
    """AC/DC used to create a folder, and a/../../../../x a file outside the output folder."""
    from flaxner.embeddings.study import figure_name

    forms = ["Washington", "AC/DC", "a/../../../../x", "a\\b", "AC%2FDC"]
    names = [figure_name(form) for form in forms]
    assert names[0] == "word-Washington.png"
    assert len(set(names)) == len(forms)
    assert not any(set("/\\") & set(name) for name in names)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from flaxner.embeddings.study import run

    folder = tmp_path_factory.mktemp("study")
    files = [
        write_conll(folder / f"{i}.conll", sentences(n, i)) for i, n in enumerate((48, 40, 64))
    ]
    flags = ["--train-file", "--validation-file", "--test-file"]
    arguments = [str(x) for pair in zip(flags, files, strict=True) for x in pair]
    arguments += ["--epochs", "3", "--max-length", "32", "--output-dir", str(folder / "out")]
    extra = [Sentence(s.words, s.tags) for s in WASHINGTON]
    more = write_conll(folder / "more.conll", [(s.words, s.tags) for s in extra])
    settings = parse_settings([*arguments, "--corpus", str(more)])
    console = Console(quiet=True)
    text = sorted({w for words, _ in sentences(48) for w in words} | {"Washington"})
    vectors = static.StaticVectors("v", tuple(text), np.eye(len(text), dtype=np.float32))
    import flaxner.embeddings.study as module

    original, module._static = module._static, lambda *_: vectors
    try:
        return run(settings, console), folder, arguments
    finally:
        module._static = original


@pytest.mark.slow
def test_the_study_writes_its_results(study):
    result, folder, _ = study
    out = folder / "out"
    assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(result))
    names = [row["name"] for row in result["taggers"]]
    assert names[:2] == ["static + linear", "static + window MLP"]
    assert "fine-tuned" in names[3]
    scores = json.loads((out / "bert" / "results.json").read_text())["test"]
    assert result["taggers"][3]["all"]["f1"] == pytest.approx(scores["overall_f1"])
    assert result["taggers"][1]["all"]["f1"] > 0.5
    for row in result["taggers"][:3]:
        scores = [trial["validation_f1"] for trial in row["grid"]]
        assert row["validation_f1"] == max(scores)
        assert scores.index(max(scores)) == [t["chosen"] for t in row["grid"]].index(True)
    page = (out / "index.html").read_text()
    assert "http" not in page
    assert page.count("data:image/png;base64,") == len(list((out / "figures").iterdir()))
    assert result["separation"][0]["silhouette"] == 0.0


@pytest.mark.slow
def test_a_second_study_does_not_overwrite_the_first(study):
    from flaxner.embeddings.study import run

    with pytest.raises(ValueError, match="is in use"):
        run(parse_settings(study[2]), Console(quiet=True))


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--taggers", "the taggers need a test corpus: give --test-file, or --no-taggers"),
        ("--no-taggers", "the corpus has no word form with two types"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    tmp_path, monkeypatch, flag, told
):
    from flaxner.embeddings import study

    def trained(*_, **__):
        raise AssertionError("it was trained first")

    for name in ("train", "_static"):
        monkeypatch.setattr(study, name, trained)
    for module, name in ((study, "require_gensim"), (study.plots, "require_matplotlib")):
        monkeypatch.setattr(module, name, lambda: None)
    files = (
        ("--train-file", write_conll(tmp_path / "train.conll", sentences(16))),
        ("--validation-file", write_conll(tmp_path / "dev.conll", sentences(8, 1))),
    )
    arguments = [str(x) for pair in files for x in pair]
    with pytest.raises(ValueError, match=told):
        study.run(parse_settings([*arguments, flag, "--output-dir", str(tmp_path / "out")]))


def test_wrong_flags_end_with_code_2():
    script = str(ROOT / "scripts" / "compare_embeddings.py")
    done = subprocess.run(
        [sys.executable, script, "--word", "x"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean --words" in done.stderr
