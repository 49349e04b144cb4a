"""Label Studio exports: what is read, what is left out and reported, and where regions lie."""

import csv
import io
import json

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from tests import scripts

TEXT = "Oda Brenner lives in Tarvik."
WORDS = ("Oda", "Brenner", "lives", "in", "Tarvik", ".")
PER, LOC = (0, 11, "Oda Brenner", "PER"), (21, 27, "Tarvik", "LOC")
BOTH = ("B-PER", "I-PER", "O", "O", "B-LOC", "O")
NONE = ("O",) * 6


def region(start, end, text, *labels, to="text", control="label", **more):
    value = {"start": start, "end": end, "text": text, "labels": list(labels), **more}
    return {"value": value, "id": "x", "from_name": control, "to_name": to, "type": "labels"}


def annotation(*regions, **more):
    return {"id": 1, "result": [region(*r) if isinstance(r, tuple) else r for r in regions], **more}


def task(*annotations, number=1, data=None, **more):
    data = {"text": TEXT} if data is None else data
    return {"id": number, "data": data, "annotations": list(annotations), **more}


def write(tmp_path, records, name="export.json"):
    path = tmp_path / name
    path.write_text(json.dumps(records, ensure_ascii=False), "utf-8")
    return path


def read(tmp_path, records, **options):
    corpus = read_corpus(write(tmp_path, records), options=ReadOptions(**options))
    return [(s.words, s.tags) for s in corpus], " | ".join(corpus.notes)


def test_skipped_and_unannotated_tasks_are_left_out_and_the_command_line_says_so(tmp_path):
    guess = {"result": [region(*PER)]}
    records = [
        task(annotation(PER, LOC)),
        task(annotation(was_cancelled=True), number=2),
        task(number=3, predictions=[guess]),
        {"id": 4, "data": {"text": TEXT}, "predictions": [guess]},
        task(annotation(), number=5),  # submitted without a region: no entities
    ]
    found, notes = read(tmp_path, records)
    assert found == [(WORDS, BOTH), (WORDS, NONE)]
    assert "1 task skipped by annotators is left out (task 2)" in notes
    assert "2 tasks without annotations are left out" in notes
    assert "(task 3, task 4)" in notes
    file = tmp_path / "export.json"
    done = scripts.run("train.py", "--inspect", "--model", "flaxner:tiny", "--train-file", file)
    said = " ".join(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 task skipped by annotators is left out (task 2)" in said


def test_nothing_annotated_says_why_it_is_empty(tmp_path):
    with pytest.raises(ValueError, match="the corpus is empty: 1 task without annotations"):
        read(tmp_path, [task(predictions=[{"result": [region(*PER)]}])])


def test_the_ground_truth_is_read_and_contradictions_are_named(tmp_path):
    wrong = (0, 11, "Oda Brenner", "ORG")
    records = [
        task(annotation(wrong), annotation(PER, LOC, ground_truth=True)),
        task(annotation(wrong), annotation(PER), number=2),
        task(annotation(PER, LOC), annotation(LOC, PER), number=3),
        task(annotation(wrong, was_cancelled=True), annotation(PER, LOC), number=4),
    ]
    found, notes = read(tmp_path, records)
    assert found == [(WORDS, BOTH)] * 3
    assert "1 task has several annotations: the one marked as ground truth is read (t" in notes
    assert "their annotations contradict each other, and none or several of them" in notes
    assert "(task 2)" in notes
    assert "1 task has several annotations that agree: they are read once (task 3)" in notes


def test_answers_about_a_region_are_no_regions(tmp_path):
    about = [
        {**region(0, 11, ["Q77"]), "from_name": "entity_id", "type": "textarea"},
        {**region(21, 27, "Tarvik", choices=["certain"]), "from_name": "sure", "type": "choices"},
        {"type": "relation", "from_id": "x", "to_id": "y", "direction": "right"},
        {"type": "choices", "value": {"choices": ["news"]}, "from_name": "c", "to_name": "text"},
    ]
    del about[0]["value"]["labels"], about[1]["value"]["labels"]
    found, notes = read(tmp_path, [task(annotation(PER, LOC, *about))])
    assert found == [(WORDS, BOTH)]
    assert notes == "2 answers about regions (text areas, choices, ratings) are ignored"


@pytest.mark.parametrize("kind", ["taxonomy", "choices"])
def test_a_task_with_an_answer_instead_of_a_label_is_left_out(tmp_path, kind):
    """Its words would be learnt as no entity, although somebody marked them."""
    answer = {**region(21, 27, "Tarvik", **{kind: [["Place", "Town"]]}), "type": kind}
    answer["from_name"] = "kind"
    del answer["value"]["labels"]
    records = [task(annotation(PER, answer)), task(annotation(PER, LOC, answer), number=2)]
    said = "one of their regions has a taxonomy or another answer instead of a label (task 1)"
    found, notes = read(tmp_path, records)
    assert found == [(WORDS, BOTH)]
    assert f"1 task is left out: {said}" in notes
    found, notes = read(tmp_path, records, spans_column="label")
    assert [tags[:2] for _, tags in found] == [("B-PER", "I-PER")] * 2
    rows = [
        minimal(PER, kind=[answer["value"]]),
        minimal(PER, LOC, kind=[answer["value"]], number=2),
    ]
    found, notes = read(tmp_path, rows)
    assert found == [(WORDS, BOTH)]
    assert f"1 task is left out: {said}" in notes
    for only in ([task(annotation(answer))], [minimal(kind=[answer["value"]])]):
        with pytest.raises(ValueError, match="the corpus is empty: 1 task is left out: one of"):
            read(tmp_path, only)


def test_regions_without_a_label_and_with_two(tmp_path):
    bare, two = region(12, 17, "lives"), region(*LOC, "ORG")
    found, notes = read(tmp_path, [task(annotation(PER, LOC, bare)), task(annotation(two))])
    assert found == [(WORDS, BOTH)]
    assert "1 region without a label is left out (task 1)" in notes
    assert "1 task is left out: one of their regions has several labels" in notes
    found, notes = read(tmp_path, [task(annotation(PER, two))], span_policy="widen")
    assert found == [(WORDS, BOTH)]
    assert "1 region with several labels is read with their first label (task 1)" in notes


def test_a_region_lies_in_the_field_it_names(tmp_path):
    data = {"subject": "Tarvik news", "text": "Oda Brenner wrote Tarvik."}
    subject = region(0, 6, "Tarvik", "LOC", to="subject")
    records = [task(annotation(subject, PER), data=data)]
    found, notes = read(tmp_path, records)
    assert found == [
        (("Tarvik", "news"), ("B-LOC", "O")),
        (("Oda", "Brenner", "wrote", "Tarvik", "."), ("B-PER", "I-PER", "O", "O", "O")),
    ]
    assert "the fields subject and text are labelled: each is its own text" in notes
    found, notes = read(tmp_path, records, text_column="text")
    assert [words for words, _ in found] == [("Oda", "Brenner", "wrote", "Tarvik", ".")]
    assert "1 region in fields other than text is left out" in notes


def test_a_field_labelled_in_one_task_is_read_in_all(tmp_path):
    data = {"subject": "Tarvik news", "text": TEXT}
    records = [
        task(annotation(PER, LOC), data=data),
        task(annotation(region(0, 6, "Tarvik", "LOC", to="subject")), data=data, number=2),
    ]
    found, _ = read(tmp_path, records)
    assert [tags for _, tags in found] == [BOTH, ("O", "O"), NONE, ("B-LOC", "O")]


def test_the_regions_own_text_shows_the_field(tmp_path):
    """The interface's tag is called "text" but shows $body, and the data has both fields."""
    data = {"text": "Tarvik, a summary of it all", "body": TEXT}
    found, notes = read(tmp_path, [task(annotation(PER, LOC), data=data)])
    assert found == [(WORDS, BOTH)]
    assert "the regions of text lie in the field body, as their own texts show" in notes
    bare = [region(0, 11, "", "PER", to="shown")]
    with pytest.raises(
        ValueError, match=r"task 1: the regions of 'shown' may lie in any of the fi"
    ):
        read(tmp_path, [task(annotation(*bare), data={"one": TEXT, "two": TEXT})])


@pytest.mark.parametrize(
    ("text", "start", "end", "said"),
    [
        ("😀在塔城工作", 3, 5, "UTF-16 units"),
        ("在\r\n塔城工作", 2, 4, r"characters with \r\n as one"),
        ("😀😀\r\n在塔城", 6, 8, r"UTF-16 units with \r\n as one"),
        ("在\n塔城工作", 3, 5, r"characters with \n as two"),
        ("在塔城工作", 3, 9, "UTF-8 bytes"),
    ],
)
def test_offsets_are_counted_as_the_regions_own_text_says(tmp_path, text, start, end, said):
    marked = region(start, end, "塔城", "LOC")
    found, notes = read(tmp_path, [task(annotation(marked), data={"text": text})])
    words, tags = found[0]
    assert [w for w, tag in zip(words, tags, strict=True) if tag != "O"] == ["塔", "城"]
    assert notes == f"1 text has spans counted in {said}, as the spans' own texts show"


def test_line_breaks_of_a_regions_text_are_written_in_two_ways(tmp_path):
    data = {"text": "in New\nYork now"}
    for own in ("New\nYork", "New\\nYork", "New York", " new york"):
        found, _ = read(tmp_path, [task(annotation(region(3, 11, own, "LOC")), data=data)])
        assert found[0][1] == ("O", "B-LOC", "I-LOC", "O")


@pytest.mark.parametrize(
    ("data", "marked", "message"),
    [
        ({"text": TEXT}, (0, 6, "Tarvik", "LOC"), "that is at 21: the text or the offsets changed"),
        ({"text": TEXT}, (0, 6, "Lunsby", "LOC"), "it was marked in another text or field"),
        ({"text": "http://a.b/c.txt"}, (90, 96, "", "LOC"), "holds the address of a text"),
    ],
)
def test_a_misplaced_region_is_refused_with_the_cause(tmp_path, data, marked, message):
    with pytest.raises(ValueError, match=r"line 1: task 7") as caught:
        read(tmp_path, [task(annotation(marked), data=data, number=7)])
    assert message in str(caught.value)
    assert "widen" not in str(caught.value)


def test_annotations_given_as_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="annotations must be given in full, not as ids"):
        read(tmp_path, [{"id": 1, "data": {"text": TEXT}, "annotations": [12]}])


def test_each_paragraph_of_a_dialogue_is_a_sentence(tmp_path):
    data = {"dialogue": [{"author": "A", "text": "Hi Oda"}, {"author": "B", "text": "In Tarvik?"}]}
    inside = {
        **region("1", "1", "Tarvik", startOffset=3, endOffset=9, paragraphlabels=["LOC"]),
        "type": "paragraphlabels",
        "to_name": "dialogue",
    }
    del inside["value"]["labels"]
    found, _ = read(tmp_path, [task(annotation(inside), data=data)])
    assert found == [(("Hi", "Oda"), ("O", "O")), (("In", "Tarvik", "?"), ("O", "B-LOC", "O"))]


def test_regions_in_html_are_left_out_with_their_task(tmp_path):
    path = "/p[1]/text()[1]"
    inside = region(path, path, "Tarvik", "LOC", globalOffsets={"start": 3, "end": 9})
    plain = task(annotation(inside), data={"text": "In Tarvik"}, number=2)
    found, notes = read(tmp_path, [task(annotation(inside), data={"text": "In <b>Tarvik"}), plain])
    assert found == [(("In", "Tarvik"), ("O", "B-LOC"))]
    assert "has no position in plain text (it is in HTML, or spans paragraphs) (task 1)" in notes


def test_the_conll_export_hides_unannotated_tasks(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O\nOda -X- _ B-PER\nBrenner -X- _ I-PER\n\nx -X- _ O\n\n")
    corpus = read_corpus(path)
    assert [s.tags for s in corpus] == [("B-PER", "I-PER"), ("O",)]
    assert "in Label Studio's CoNLL export, tasks that nobody annotated look" in corpus.notes[0]


def minimal(*regions, number=1, text=TEXT, annotation_id=1, **more):
    record = {"id": number, "text": text, "annotator": 1, "annotation_id": annotation_id}
    if regions:
        record["label"] = [region(*r)["value"] for r in regions]
    return {**record, "created_at": "2024", "updated_at": "2024", "lead_time": 1.5, **more}


MINIMAL = [
    minimal(PER, LOC, entity_id=[{"start": 0, "end": 11, "text": ["Q77"]}], sure="certain"),
    minimal(number=2),  # annotated, no regions
    minimal(number=3, annotation_id=None),  # not annotated
    minimal((12, 17, "lives"), number=4),  # one region without a label
    minimal(PER, number=5),
    minimal(LOC, number=5, annotation_id=2),
    minimal(PER, LOC, number=6),
    minimal(LOC, PER, number=6, annotation_id=2),
]


def check_minimal(corpus):
    assert [(s.words, s.tags) for s in corpus] == [
        (WORDS, BOTH),
        (WORDS, NONE),
        (WORDS, NONE),
        (WORDS, BOTH),
    ]
    notes = " | ".join(corpus.notes)
    assert "left out (predictions do not count) (task 3)" in notes
    assert "1 region without a label is left out (task 4)" in notes
    assert "contradict each other, and only the JSON export says which is the ground t" in notes
    assert "(task 5)" in notes
    assert "several annotations that agree: they are read once (task 6)" in notes


def test_json_min(tmp_path):
    check_minimal(read_corpus(write(tmp_path, MINIMAL)))


def as_csv(records, delimiter=",", lineterminator="\r\n"):
    """Write CSV as Label Studio's converter does: sorted columns, regions as JSON, quoted text."""
    out = io.StringIO()
    names = sorted({name for record in records for name in record})
    options = {"quoting": csv.QUOTE_NONNUMERIC, "delimiter": delimiter}
    writer = csv.DictWriter(out, names, lineterminator=lineterminator, **options)
    writer.writeheader()
    for record in records:
        row = {k: json.dumps(v) if isinstance(v, list) else v for k, v in record.items()}
        writer.writerow(row)
    return out.getvalue()


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), ("\t", "a.tsv")])
def test_csv(tmp_path, delimiter, name):
    path = tmp_path / name
    path.write_text(as_csv(MINIMAL, delimiter), "utf-8", newline="")
    corpus = read_corpus(path)
    assert corpus.format == "span-table"
    check_minimal(corpus)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_keeps_line_breaks_and_long_texts(tmp_path, line_end):
    text = f"a{line_end}b" * 70_000 + " Tarvik"
    start = text.index("Tarvik")
    path = tmp_path / "a.csv"
    made = as_csv([minimal((start, start + 6, "Tarvik", "LOC"), text=text)])
    path.write_text(made, "utf-8", newline="")
    corpus = read_corpus(path)
    assert [s.words[-1] for s in corpus] == ["Tarvik"]
    assert corpus.sentences[0].tags[-1] == "B-LOC"
    assert [note[:35] for note in corpus.notes] == ["the whole corpus is one sentence of"]


def test_a_field_that_csv_renames(tmp_path):
    record = minimal(PER, LOC)
    record["_data_text"], record["text"] = record.pop("text"), "an answer called text"
    path = tmp_path / "a.csv"
    path.write_text(as_csv([record]), "utf-8", newline="")
    assert [s.tags for s in read_corpus(path)] == [BOTH]
