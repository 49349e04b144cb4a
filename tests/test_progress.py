"""What a run prints: whole lines in logs, speeds without compilation, and hints."""

import io
import warnings

import pytest
from rich.console import Console
from rich.text import Text

from flaxner import terminal
from flaxner.config.command_line import Parser
from flaxner.config.fields import hint
from flaxner.config.train import TrainConfig
from flaxner.evaluation.table import score_table
from flaxner.hub import fetch_file
from flaxner.training import examples, progress
from flaxner.training.preparation import prepare
from flaxner.wording import number_of

LONG = "a line of a log that is longer than a terminal is wide " * 5


@pytest.mark.parametrize("line", [LONG, Text(LONG)])
def test_lines_of_logs_are_not_wrapped(line):
    file = io.StringIO()
    terminal.console(Console(file=file, width=80)).print(line)
    assert file.getvalue() == f"{LONG}\n"


def test_lines_on_terminals_are_wrapped():
    file = io.StringIO()
    terminal.console(Console(file=file, width=80, force_terminal=True)).print(LONG)
    assert file.getvalue().count("\n") > 1


def test_a_title_may_be_wider_than_its_table():
    file, title = io.StringIO(), "validation (folder/with/a/long/name/of/a/corpus.conll)"
    row = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 3}
    report = {f"overall_{key}": 1.0 for key in ("precision", "recall", "f1")}
    Console(file=file, width=80).print(score_table(title, {**report, "per_type": {"A": row}}))
    assert file.getvalue().splitlines()[0].strip() == title


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_of_scores_cuts_neither_types_nor_figures(width):
    file, row = io.StringIO(), {"precision": 0.1234, "recall": 1.0, "f1": 1.0, "support": 1234}
    report = {f"overall_{key}": 0.5 for key in ("precision", "recall", "f1")}
    types = {"event-attack/battle/war/militaryconflict": row}
    Console(file=file, width=width).print(score_table("test", {**report, "per_type": types}))
    cells = [line.split("│")[1:-1] for line in file.getvalue().splitlines()]
    columns = [
        "".join(cell.strip() for cell in column)
        for column in zip(*filter(None, cells), strict=True)
    ]
    assert columns[0] == f"{next(iter(types))}all"
    assert columns[1] == "0.12340.5000"
    assert columns[4] == "1,2341,234"


def test_the_speed_is_that_of_training_steps(monkeypatch):
    """Neither compilation, in the first step, nor an evaluation counts."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    file = io.StringIO()
    with progress.TrainProgress(Console(file=file, width=80), 100) as bar:
        for step, seconds in enumerate((60.0, 1.0, 1.0, 1.0), 1):
            now += seconds
            bar.update(step, 500, 0.5)
        now += 100.0
        bar.say("evaluated")
        now += 1.0
        bar.update(5, 500, 0.5)
    assert file.getvalue().splitlines() == [
        "step 2/100 · loss 0.5000 · 500 tokens/s · 98 s left",
        "evaluated",
        "step 5/100 · loss 0.5000 · 500 tokens/s · 2,470 s left",
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (number_of(0, "texts"), "0 texts"),
        (number_of(1, "entities of ORG"), "1 entity of ORG"),
        (number_of(1, "texts have no spans"), "1 text has no spans"),
        (number_of(1200, "texts are left out"), "1,200 texts are left out"),
        (number_of(1, "texts are left out", 2), "1 of 2 texts is left out"),
        (number_of(0, "texts are left out", 1), "0 of 1 text are left out"),
    ],
)
def test_counts_agree_with_what_is_counted(said, line):
    assert said == line


def test_examples_come_without_the_warnings_of_other_libraries(monkeypatch, recwarn):
    def ner(text):
        warnings.warn("fallback", stacklevel=1)
        return [{"entity_group": "PER", "score": 1.0, "word": text}]

    monkeypatch.setattr(examples, "_pipeline", lambda folder: (ner, "a pipeline"))
    file = io.StringIO()
    examples.show_examples("hub", ["Ann"], Console(file=file))
    assert file.getvalue().endswith("  Ann\n    PER  1.000  Ann\n")
    assert not recwarn


@pytest.mark.parametrize(
    ("folders", "meant"),
    [
        (("hub", "model"), r"{0}/hub\?"),
        (("checkpoint-1", "checkpoint-2"), r"{0}/checkpoint-1, {0}/checkpoint-2\?"),
        (("model", "best"), r"{0}/best\?"),
    ],
)
def test_the_folder_of_a_run_is_not_the_model_but_holds_it(tmp_path, folders, meant):
    for name in folders:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        if name != "model":  # a run's model/ has no weights
            (tmp_path / name / "model.safetensors").touch()
    message = rf"no config\.json; did you mean {meant.format(tmp_path)}$"
    with pytest.raises(ValueError, match=message):
        fetch_file(tmp_path, "config.json")


def test_missing_files_are_reported_before_the_model_is_fetched(tmp_path):
    settings = {"model": "user/nowhere", "train_file": str(tmp_path / "train.conll")}
    with pytest.raises(ValueError, match=r"train\.conll: cannot read the corpus: No such file"):
        prepare(TrainConfig(**settings))


def test_hints_prefer_what_begins_alike():
    names = ["--keep", "--epochs", "--train-file", "--train-fraction", "--train-vectors"]
    assert hint("--epoch", names) == "; did you mean --epochs?"
    wanted = "; did you mean --train-file, --train-fraction or --train-vectors?"
    assert hint("--train", names) == wanted


def test_mistyped_flags_are_reported_before_missing_ones(capsys):
    parser = Parser(prog="it")
    parser.add_argument("--topology", required=True)
    for words in (["--toplogy", "v5e:2x4"], ["--toplogy=v5e:2x4"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        message = "it: unknown argument '--toplogy'; did you mean --topology?\n"
        assert capsys.readouterr().err == message
    with pytest.raises(SystemExit):
        parser.parse_args(["--", "--toplogy"])
    assert "are required: --topology" in capsys.readouterr().err
