"""Data sets on a Hub at 127.0.0.1, read by the unmodified clients: names, layouts, errors."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from tests.hub_server import ROOT, FakeHub

PARQUET = "refs/convert/parquet"
SPLITS = ("train", "validation", "test")
WORDS = ["Ann", "Lee", "left", "Rome"]
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TAGS = ["B-PER", "I-PER", "O", "B-LOC"]


def parquet(tags, names=None, *, column="ner_tags", count=1):
    """Return a Parquet table of one sentence; its tags are strings, bare ids, or ids with names."""
    kind = ClassLabel(names=names) if names else Value("string" if type(tags[0]) is str else "int8")
    features = Features({"tokens": List(Value("string")), column: List(kind)})
    rows = {"tokens": [WORDS] * count, column: [tags] * count}
    buffer = io.BytesIO()
    Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


LABELLED = parquet([1, 2, 0, 3], NAMES)
STRINGS = parquet(TAGS)
TORN = parquet(TAGS, count=3)


def converted(config, data=LABELLED):
    """Return files in the layout of the Parquet branch."""
    return {f"{config}/{split}/0000.parquet": data for split in SPLITS}


def configured(configs, data=LABELLED):
    """Return files in the layout that `push_to_hub` gives to several configurations."""
    card = "---\nconfigs:\n"
    for config in configs:
        card += f"- config_name: {config}\n  data_files:\n"
        card += "".join(f"  - split: {s}\n    path: {config}/{s}-*\n" for s in SPLITS)
    files = {f"{c}/{s}-00000-of-00001.parquet": data for c in configs for s in SPLITS}
    return {"README.md": f"{card}---\n".encode(), **files}


def fill(hub):
    """Add repositories with the layouts of the known ones."""

    def script(name, *configs, data=LABELLED, **extra):
        files = {f"{name.split('/')[1]}.py": b"raise SystemExit", **extra}
        hub.add(name, files, kind="dataset")
        for config in configs:
            hub.add(name, converted(config, data), kind="dataset", revision=PARQUET)

    script("eriktks/conll2003", "conll2003")
    script("ZihanWangKi/conllpp", "conllpp")
    script("leondz/wnut_17", "wnut_17")
    hub.add("unimelb-nlp/wikiann", configured(["de", "en"]), kind="dataset")
    bare = parquet([1, 1, 0, 2], ["O", "person", "location"])
    hub.add("DFKI-SLT/few-nerd", configured(["inter", "supervised"], bare), kind="dataset")
    ids = parquet([1, 2, 0, 3], column="tags")
    labels = json.dumps({name: i for i, name in enumerate(NAMES)}).encode()
    script("tner/some", "some", data=ids, **{"dataset/label.json": labels})
    script("user/two", "a", "b")
    script("user/lost")
    script("user/large")
    parts = {"default/partial-train/0000.parquet": STRINGS, "default/test/0000.parquet": STRINGS}
    hub.add("user/large", parts, kind="dataset", revision=PARQUET)
    hub.add("user/ids", {"train.parquet": ids}, kind="dataset")
    hub.add("user/strings", {"train.parquet": STRINGS, "dev.parquet": STRINGS}, kind="dataset")
    hub.add("user/old", {"train.parquet": LABELLED}, kind="dataset")
    repo = hub.repo("user/old", "dataset")
    repo.tags["v1"] = repo.resolve("main")
    hub.add("user/old", {"train.parquet": parquet(TAGS, count=2)}, kind="dataset")
    for name in ("user/gated", "user/denied", "user/cut"):
        hub.add(name, {"train.parquet": LABELLED}, kind="dataset")
    hub.add("user/torn", {"train.parquet": TORN}, kind="dataset")
    hub.repo("user/gated", "dataset").gated = True
    hub.add("user/broken", {"train.parquet": LABELLED[:200]}, kind="dataset")
    hub.fail("user/denied", 401, times=9)
    hub.cut("user/cut", times=9)


READ = """
import json, sys
from flaxner.data.corpus import read_dataset
from flaxner.data.readers import ReadOptions
for name, options in json.loads(sys.argv[1]):
    try:
        found = read_dataset(name, ["train", "validation", "test"], ReadOptions(**options))
    except ValueError as error:
        print(json.dumps(str(error)))
    else:
        print(json.dumps({s: [c.sentences[-1].tags, len(c), c.notes] for s, c in found.items()}))
"""
# name, options -> where it is read from (None: as requested), or the error
KNOWN = "data sets that work: conll2003, conllpp, wnut_17, wikiann, few-nerd"
READABLE = [
    ("conll2003", {}, f"eriktks/conll2003, configuration conll2003, at {PARQUET}"),
    ("eriktks/conll2003", {}, f"eriktks/conll2003, configuration conll2003, at {PARQUET}"),
    ("conllpp", {}, f"ZihanWangKi/conllpp, at {PARQUET}"),
    ("wnut_17", {}, f"leondz/wnut_17, configuration wnut_17, at {PARQUET}"),
    ("wikiann", {"dataset_config": "en"}, "unimelb-nlp/wikiann, configuration en"),
    ("tner/some", {}, f"tner/some, at {PARQUET}"),
    ("tner/some", {"dataset_revision": PARQUET}, None),
    ("user/two", {"dataset_config": "b"}, f"user/two, configuration b, at {PARQUET}"),
]
REFUSED = [
    (
        "user/two",
        {},
        "the data set has several configurations; choose one with --dataset-config: a, b",
    ),
    ("wikiann", {}, "several configurations; choose one with --dataset-config: de, en"),
    (
        "wikiann",
        {"dataset_config": "xx"},
        "no configuration 'xx'; choose one with --dataset-config",
    ),
    (
        "conll2003",
        {"dataset_config": "xx"},
        "no configuration 'xx'; choose one with --dataset-config",
    ),
    ("conll2003", {"dataset_revision": "main"}, "at main is a loading script, which `datasets`"),
    ("user/lost", {}, f"the Hub has no Parquet copy of it ({PARQUET}); {KNOWN}"),
    ("user/old", {"dataset_revision": "v9"}, "Revision 'v9' doesn't exist"),
    ("user/ids", {}, "line 1: the ids in 'tags' have no names; use tags such as B-PER"),
    ("user/broken", {}, "the data set cannot be read: Parquet magic bytes not found"),
    ("user/gated", {}, "log in with `hf auth login` (Dataset 'user/gated' is a gated dataset"),
    ("user/denied", {}, "the Hub denies access"),
    ("nobody/nothing", {}, f"or cannot be accessed; {KNOWN}"),
    ("nothing", {}, "nothing: no such data set, file or folder: "),
    ("user/cut", {}, "the Hub cannot be reached (Server disconnected"),
]
OTHERS = [
    ("few-nerd", {}),
    ("user/strings", {}),
    ("user/old", {}),
    ("user/old", {"dataset_revision": "v1"}),
    ("user/torn", {}),
    ("user/large", {"dataset_revision": PARQUET}),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as server:
        fill(server)
        yield server


def ask(hub, home, cases, **environment):
    """Return what a new process reads, or its error, for each case."""
    done = hub.run(home, READ, json.dumps([case[:2] for case in cases]), token=None, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers(hub, home):
    hub.cut(f"GET /_lfs/{hashlib.sha256(TORN).hexdigest()}", 100)
    torn = hub.faults[-1]
    cases = [*READABLE, *REFUSED, *OTHERS]
    keys = [(case[0], json.dumps(case[1])) for case in cases]
    found = dict(zip(keys, ask(hub, home, cases), strict=True))
    assert torn.times == 0, "the connection should have been cut"
    return found


@pytest.mark.parametrize(("name", "options", "source"), READABLE)
def test_well_known_names(answers, name, options, source):
    found = answers[name, json.dumps(options)]
    note = [f"read from {source}"] if source else []
    column = "tags" if name == "tner/some" else "ner_tags"
    read = f"tags are read from {column!r}, the only one that holds tags"
    assert found == {
        split: [TAGS, 1, [*(note if split == "train" else []), read]] for split in SPLITS
    }


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_errors_are_one_line(answers, name, options, message):
    said = answers[name, json.dumps(options)]
    assert isinstance(said, str), "it should not have been read"
    assert message in said
    assert said.startswith(name)
    assert "\n" not in said
    assert len(said) < 600


def test_other_layouts(answers):
    bare = [["B-person", "I-person", "O", "B-location"], 1]
    assert answers["few-nerd", "{}"]["test"][:2] == bare, "bare types should be IO"
    strings = answers["user/strings", "{}"]
    assert {split: found[:2] for split, found in strings.items()} == {
        "train": [TAGS, 1],
        "validation": [TAGS, 1],
    }
    assert answers["user/old", "{}"]["train"][1] == 2
    assert answers["user/old", '{"dataset_revision": "v1"}']["train"][1] == 1
    assert answers["user/torn", "{}"]["train"][:2] == [TAGS, 3], "the rest should follow"
    large = answers["user/large", json.dumps({"dataset_revision": PARQUET})]
    said = {
        split: "only the beginning of the split" in str(found[2:]) for split, found in large.items()
    }
    assert said == {"train": True, "test": False}


def test_without_the_hub_the_cache_is_used(hub, home, answers):
    cases = [READABLE[0], READABLE[2], ("user/never", {})]
    before = len(hub.requests)
    *cached, refused = ask(hub, home, cases, HF_HUB_OFFLINE="1")
    assert [found["train"][0] for found in cached] == [TAGS, TAGS]
    assert "the Hub cannot be reached" in refused
    assert refused.endswith(": try again, or give the corpus as a file")  # any command's
    assert len(hub.requests) == before


def test_a_known_name_falls_back_to_a_copy(tmp_path):
    with FakeHub() as hub:
        hub.add("flaitenberger/wnut_17", {"train.parquet": LABELLED}, kind="dataset")
        (found,) = ask(hub, tmp_path, [("wnut_17", {})])
        words, count, notes = found["train"]
        assert (words, count, notes[0]) == (TAGS, 1, "read from flaitenberger/wnut_17")


@pytest.mark.slow
def test_training_uses_the_default_corpus(hub, tmp_path):
    """`--dataset` comes from the preset: conll2003."""
    out = tmp_path / "run"
    arguments = ["--model", "flaxner:tiny", "--epochs", "1", "--max-length", "16"]
    arguments += ["--output-dir", str(out), "--compilation-cache", str(ROOT / ".cache" / "jax")]
    done = hub.run(tmp_path, str(ROOT / "scripts" / "train.py"), *arguments, token=None)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "train: conll2003 (train): 1 sentence, 4 words, IOB2" in done.stdout
    results = json.loads(Path(out, "results.json").read_text())
    assert results["test"]["words_scored"] == results["test"]["words_in_corpus"] == 4
    assert (out / "hub" / "model.safetensors").is_file()
