"""Settings: defaults, presets, files and flags, and what each error says."""

import dataclasses
import tomllib

import pytest

from flaxner.config.command_line import parse_train_config
from flaxner.config.files import load_preset, preset_names
from flaxner.config.train import TrainConfig


def refused(capsys, *arguments):
    """The one line that a wrong command line is answered with."""
    with pytest.raises(SystemExit) as caught:
        parse_train_config(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_parses_and_opens_with_its_command(name):
    TrainConfig(**load_preset(name))
    from importlib import resources

    text = (resources.files("flaxner") / "presets" / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# python scripts/train.py")


def test_no_preset_is_conll2003():
    config = parse_train_config([])
    assert config.model == "google-bert/bert-base-cased"
    assert config.dataset == "conll2003"


def test_flags_win_over_files_and_files_over_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('dataset = "x"\nepochs = 2\nbatch_size = 8\n')
    config = parse_train_config(["--config", str(path), "--batch-size", "16"])
    assert (config.dataset, config.epochs, config.batch_size, config.seed) == ("x", 2, 16, 0)


def test_a_file_of_the_users_replaces_the_presets_corpus():
    config = parse_train_config(["--train-file", "a.conll", "--test-file", "b.conll"])
    assert config.dataset is None
    assert (config.train_file, config.validation_file, config.test_file) == (
        "a.conll",
        None,
        "b.conll",
    )


def test_toml_repeats_the_run(tmp_path):
    config = TrainConfig(dataset='odd "name" \\ ü', epochs=2.5, resume=False, seed=3)
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), "utf-8")
    assert parse_train_config(["--config", str(path)]) == config
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    unset = {name for name in names if getattr(config, name) is None}
    of_process = {
        "inspect",
        "coordinator",
        "num_processes",
        "process_id",
    }  # of a process, not of the run
    assert set(tomllib.loads(config.to_toml())) == names - unset - of_process


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modle", "x"], "unknown argument '--modle'; did you mean --model"),
        (["--zzz"], "unknown argument '--zzz'; known: "),
        (["--preset", "nope"], "invalid choice: 'nope' (choose from"),
        (["--precision", "int8"], "invalid choice: 'int8' (choose from"),
        (["--epochs", "many"], "invalid float value: 'many'"),
        (["--epochs", "0"], "epochs must be above 0: got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1: got 0"),
        (["--warmup-ratio", "2"], "warmup_ratio must be at most 1: got 2"),
        (["--max-length", "64", "--row-length", "32"], "row_length must be at least max_length"),
        (["--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["--config", "/nowhere.toml"], "cannot read the settings /nowhere.toml: No such file"),
    ],
)
def test_wrong_command_lines(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'; did you mean epochs"),
        ("epochs = ", "is no TOML"),
        ('epochs = "3"', "epochs must be float: got '3'"),
        ("batch_size = 2.5", "batch_size must be int: got 2.5"),
        ("seed = true", "seed must be int: got True"),
        ("epochs = 3", "a run needs a corpus"),
    ],
)
def test_wrong_files(capsys, tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert message in refused(capsys, "--config", str(path))
