"""Settings: defaults, presets, files and flags, and their error messages."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from flaxner.config.command_line import parse_train_config, train_parser
from flaxner.config.files import laid_over, load_preset, preset_names
from flaxner.config.sections import SECTIONS
from flaxner.config.train import TrainConfig
from flaxner.config.trainer_flags import TRAINER_FLAGS
from tests.conftest import ROOT


def refused(capsys, *arguments):
    """Return the one-line error for an invalid command line."""
    with pytest.raises(SystemExit) as caught:
        parse_train_config(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_every_setting_is_in_one_section():
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(TrainConfig))


def test_flags_of_the_trainer_are_known_as_the_docs_have_them():
    own = set(train_parser()._option_string_actions)
    table = (ROOT / "docs" / "moving.md").read_text("utf-8").split("## `run_flax_ner.py`")[1]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `--")]
    documented = {flag: row[1] for row in rows for flag in re.findall(r"--\w+", row[0])}
    assert len(documented) > 40
    for flag, ours in documented.items():
        instead = TRAINER_FLAGS.get(flag[2:].replace("_", "-"))
        if instead is None:
            assert flag.replace("_", "-") in own
        else:
            advised = re.findall(r"--[a-z-]+\w", instead)
            assert set(advised) <= own | {"--push-to-hub"}
            assert set(advised[:1]) <= set(re.findall(r"--[a-z-]+\w", ours))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_parses_and_starts_with_its_command(name):
    TrainConfig(**load_preset(name))
    from importlib import resources

    text = (resources.files("flaxner") / "presets" / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# python scripts/train.py")


def test_the_default_preset_is_conll2003():
    config = parse_train_config([])
    assert config.model == "google-bert/bert-base-cased"
    assert config.dataset == "conll2003"


def test_flags_win_over_files_and_files_over_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('dataset = "x"\nepochs = 2\nbatch_size = 8\n')
    config = parse_train_config(["--config", str(path), "--batch-size", "16"])
    assert (config.dataset, config.epochs, config.batch_size, config.seed) == ("x", 2, 16, 0)


def test_a_users_file_replaces_the_presets_corpus():
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
    }  # belong to a process, not to the run
    assert set(tomllib.loads(config.to_toml())) == names - unset - of_process


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modle", "x"], "unknown argument '--modle'; did you mean --model"),
        (["--zzz"], "unknown argument '--zzz'; 'train.py --help' lists all arguments"),
        (["--num_train_epochs", "3"], "unknown argument '--num_train_epochs'; use --epochs"),
        (["--bf16"], "unknown argument '--bf16'; use --precision bfloat16"),
        (["--do_train"], "unknown argument '--do_train': train.py always trains"),
        (["--preset", "nope"], "invalid choice: 'nope' (choose from"),
        (["--precision", "int8"], "invalid choice: 'int8' (choose from"),
        (["--epochs", "many"], "argument --epochs: expected a number: got 'many'"),
        (["--epochs", "0"], "epochs must be above 0: got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1: got 0"),
        (["--warmup-ratio", "2"], "warmup_ratio must be at most 1: got 2"),
        (["--adam-beta1", "1"], "adam_beta1 must be at most 0.999999: got 1"),
        (["--adam-beta2", "1"], "adam_beta2 must be at most 0.999999: got 1"),
        (["--adam-epsilon", "0"], "adam_epsilon must be above 0: got 0"),
        (["--max-length", "64", "--row-length", "32"], "row_length must be at least max_length"),
        (["--resume", "--overwrite"], "--resume and --overwrite are mutually exclusive"),
        (
            ["--config", "/nowhere.toml"],
            "cannot read the settings file /nowhere.toml: No such file",
        ),
    ],
)
def test_invalid_command_lines_are_refused(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'; did you mean epochs"),
        ("zzz = 3", "setting 'zzz'; 'flaxner train --help' lists all settings, with '-'"),
        ("epochs = ", "is not valid TOML"),
        ("epochs = " + "[" * 5000, "is not valid TOML"),
        ('epochs = "3"', "epochs must be a number: got '3'"),
        ("batch_size = 2.5", "batch_size must be a whole number: got 2.5"),
        ("seed = true", "seed must be a whole number: got True"),
        ("remat = 1", "remat must be true or false: got 1"),
        ("epochs = 3", "a run needs a corpus"),
    ],
)
def test_invalid_settings_files_are_refused(capsys, tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert message in refused(capsys, "--config", str(path))


@pytest.mark.parametrize(
    "name",
    [
        'quote " and \\', "line\nend", "tab\t", "bell\x07", "del\x7f", "c1\x85", "sep\u2028",
        "[red]x[/red]", "'''", '"""', "ends in \\", "ü🙂",
    ],
)  # fmt: skip
def test_toml_round_trips_any_text(tmp_path, name):
    config = TrainConfig(train_file=(name, "b"), output_dir=name, class_weights=("O=0.5", "X=2"))
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), "utf-8", newline="\n")
    assert parse_train_config(["--config", str(path)]) == config


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    "field",
    [field for field in dataclasses.fields(TrainConfig) if isinstance(field.default, float)],
    ids=lambda field: field.name,
)
def test_numbers_are_finite(capsys, tmp_path, field, value):
    message = refused(capsys, "--dataset", "x", f"--{field.name.replace('_', '-')}={value}")
    assert f"{field.name} must be a finite number: got {value}" in message
    path = tmp_path / "run.toml"
    path.write_text(f'dataset = "x"\n{field.name} = {value}\n')
    assert "must be a finite number" in refused(capsys, "--config", str(path))


def test_numbers_must_be_in_range(capsys):
    for name in ("epochs", "batch-size", "data-seed"):
        assert "must be" in refused(capsys, "--dataset", "x", f"--{name}", "1" + "0" * 400)
    assert "seed must be at most 4294967295" in refused(
        capsys, "--dataset", "x", "--seed", str(2**32)
    )


def test_names_that_are_not_utf8_are_refused(capsys):
    message = refused(capsys, "--train-file", "caf\udce9.conll")
    assert "train_file must be valid UTF-8: got 'caf\\udce9.conll'" in message


PATHS = ["model", "dataset", "train_file", "validation_file", "test_file", "output_dir"]


@pytest.mark.parametrize("name", PATHS)
def test_the_home_directory_is_expanded_wherever_paths_are_given(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of-test")
    flags = [f"--{name.replace('_', '-')}", "~/x y"]
    flags += [] if name in ("dataset", "train_file") else ["--train-file", "a"]
    assert getattr(parse_train_config(flags), name) == "/home/of-test/x y"
    path = tmp_path / "run.toml"
    others = "" if name in ("dataset", "train_file") else 'train_file = "a"\n'
    path.write_text(f'{others}{name} = "~/x y"\n')
    assert getattr(parse_train_config(["--config", str(path)]), name) == "/home/of-test/x y"
    if name in ("dataset", "train_file"):
        path.write_text(f'{name} = ["~/x", "y~"]\n')
        config = parse_train_config(["--config", str(path)])
        assert getattr(config, name) == ("/home/of-test/x", "y~")
        assert getattr(TrainConfig(**{name: [Path("~/x"), "y~"]}), name) == getattr(config, name)
    given = {"train_file": "a", name: Path("~/x y")}
    assert getattr(TrainConfig(**given), name) == "/home/of-test/x y"


@pytest.mark.parametrize("name", PATHS)
def test_buckets_are_refused_before_anything_else(capsys, name, tmp_path):
    flag = f"--{name.replace('_', '-')}"
    message = refused(capsys, flag, "gs://bucket/run")
    assert f"argument {flag}: 'gs://bucket/run' is in a bucket" in message
    assert "mount the bucket (gcsfuse BUCKET /mnt/BUCKET, or similar)" in message
    path = tmp_path / "run.toml"
    path.write_text(f'train_file = "a"\n{name} = "s3://bucket/run"\n'.removeprefix(
        'train_file = "a"\n' if name == "train_file" else ""
    ))  # fmt: skip
    assert f"{name}: 's3://bucket/run' is in a bucket" in refused(capsys, "--config", str(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("https://huggingface.co/x/y", "is a URL: give the name on the Hub"),
        ("file:///tmp/x", "is a URL: give a local path"),
        ("~nobody-of-that-name/x", "starts with ~ but names no home directory: write ./~nobody"),
        ("a\0b", "a path cannot contain a zero byte"),
        ("", "argument --model: expected a path or a name: got ''"),
    ],
)
def test_invalid_paths_are_refused(capsys, value, message):
    assert message in refused(capsys, "--train-file", "a", "--model", value)


def test_names_that_look_like_addresses_are_paths():
    for name in ("flaxner:tiny", "a:b/c", "C:/x", "C:\\x", "1:2//3", "./~", "a~"):
        assert TrainConfig(train_file="a", model=name).model == name


SCRIPTS = {
    "convert_and_push.py": ([], ["RUN_DIR", "--output-dir"]),
    "evaluate.py": (["--model", "x"], ["--model", "--file", "--dataset", "--output-dir"]),
    "export.py": (["--model", "x", "--output-dir", "y"], ["--model", "--file", "--output-dir"]),
    "predict.py": (["--model", "x"], ["--model", "--file"]),
    "preflight.py": (["--topology", "v5e:1x1"], ["--config", "--model-config", "--cache"]),
    "compare_embeddings.py": (
        [], ["--vectors", "--train-vectors", "--corpus", "--output-dir", "--model"],
    ),
    "train.py": ([], ["--config"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [("gs://b/x", "'gs://b/x' is in a bucket"), ("", "expected a path or a name: got ''")],
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_refuses_buckets_and_empty_paths(script, value, message, capsys, monkeypatch):
    import runpy
    import sys

    required, flags = SCRIPTS[script]
    for flag in flags:
        if flag == "--cache" and not value:  # none
            continue
        given = [*required, flag, value] if flag.startswith("-") else [value]
        monkeypatch.setattr(sys, "argv", [script, *given])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("base", "given", "chosen", "left"),
    [
        ({"dataset": "a", "dataset_config": "en"}, {"dataset": "b"}, True, {"dataset": "b"}),
        ({"dataset": "a"}, {"train_file": "t"}, False, {"train_file": "t"}),
        ({"train_file": "t", "test_file": "u"}, {"dataset": "b"}, True, {"dataset": "b"}),
        ({"train_file": "t", "test_file": "u"}, {"train_file": "v"}, True, {"train_file": "v"}),
        ({"dataset": "a"}, {"test_file": "u"}, True, {"dataset": "a", "test_file": "u"}),
        ({"dataset": "a"}, {"test_file": "u"}, False, {"test_file": "u"}),
        ({"dataset": "a", "seed": 1}, {"epochs": 2.0}, False, {"dataset": "a", "seed": 1,
                                                               "epochs": 2.0}),
        ({"model": "a/b", "revision": "v1"}, {"model": "c/d"}, True, {"model": "c/d"}),
        ({"model": "a/b", "revision": "v1"}, {"model": "a/b"}, True, {"model": "a/b",
                                                                      "revision": "v1"}),
        ({"model": "a/b", "revision": "v1"}, {"model": "c", "revision": "v2"}, True,
         {"model": "c", "revision": "v2"}),
    ],
)  # fmt: skip
def test_the_users_own_corpus_or_model_replaces_another(base, given, chosen, left):
    assert laid_over(base, given, chosen=chosen) == left


def test_every_command_replaces_the_presets_corpus(monkeypatch):
    from flaxner.commands import preflight
    from flaxner.embeddings.settings import parse_settings

    assert parse_settings(["--train-file", "t"]).config.dataset is None
    assert parse_settings(["--train-file", "t"]).config.train_file == "t"
    seen = []
    monkeypatch.setattr(preflight, "preflight", lambda config, *_, **options: seen.append(config))
    with pytest.raises(AttributeError):  # the patched preflight returns no report
        preflight.main(["--topology", "v5e:1x1", "--train-file", "t"])
    assert (seen[0].dataset, seen[0].train_file) == (None, "t")


def test_help_states_the_defaults_of_the_command():
    """It used to state those of training even if a command has its own."""
    from flaxner.commands import benchmark
    from flaxner.embeddings.settings import parser

    train = next(a for a in benchmark.parser("x", ["train"])._actions if a.choices).choices["train"]
    for flags, named in ((train, {"model"}), (parser(), load_preset("quickstart"))):
        helps = {action.dest: action.help for action in flags._actions}
        for name, value in load_preset("quickstart").items():
            if name in named and name != "output_dir":
                assert f"(default: {value})" in helps[name]


@pytest.mark.parametrize("name", ["compilation_cache", "segment_cache"])
def test_caches_are_local_folders_and_kept_as_given(capsys, name):
    flag = f"--{name.replace('_', '-')}"
    message = refused(capsys, "--train-file", "a", flag, "gs://bucket/x")
    assert f"{name}: 'gs://bucket/x' is in a bucket" in message
    config = parse_train_config(["--train-file", "a", flag, "~/x"])
    assert getattr(config, name) == "~/x"  # a published config.toml contains no home directory
    assert getattr(parse_train_config(["--train-file", "a", flag, ""]), name) == ""
