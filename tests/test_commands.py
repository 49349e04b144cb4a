"""`flaxner SUBCOMMAND`: the same commands as in scripts/, loaded quickly."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from flaxner import __version__
from flaxner.commands import COMMANDS, console
from flaxner.typed_commands import command_line

ROOT = Path(__file__).resolve().parent.parent
NO_SCRIPT = {"env", "completion"}


def run(*arguments):
    command = [sys.executable, "-m", "flaxner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def flags(parser):
    return [(action.option_strings, action.dest, action.default) for action in parser._actions]


def test_flags_are_parsed_without_waiting_for_jax():
    code = (
        "import sys; from flaxner.commands import COMMANDS\n"
        "for name in COMMANDS.keys() - {'benchmark'}: COMMANDS[name].load().parser()\n"
        "print({'jax', 'transformers', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True).strip() == "set()"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_flags(name, capsys):
    module = COMMANDS[name].load()
    assert module.parser(f"flaxner {name}").prog == f"flaxner {name}"
    assert flags(module.parser(f"flaxner {name}")) == flags(module.parser())
    with pytest.raises(SystemExit) as end:
        console.main([name, "--no-such-flag"])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"flaxner {name}: ")
    assert "\n" not in error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "preflight --topology v5e-8 --labels -1",
            "--labels: expected a whole number of at least 1",
        ),
        ("compare a b --seed -1", "--seed: expected a whole number of at least 0: got '-1'"),
        ("benchmark pipeline --turns 0", "--turns: expected a whole number of at least 1"),
        ("benchmark pipeline --texts -1", "--texts: expected a whole number of at least 0"),
        ("benchmark quality --seeds 0", "--seeds: expected a whole number of at least 1"),
        ("benchmark serve --seconds x", "--seconds: expected a whole number of at least 1"),
        ("benchmark pipeline --model m --file none --tag-column 1", "none"),
        ("evaluate --model m --file f --split dev", "--split is for --dataset"),
        ("evaluate --model m --file f --dataset-config de", "--dataset-config is for --dataset"),
        ("evaluate --model m --file a --file b", "argument --file: give it once, as evaluate"),
        ("predict --model m --file a --file=b", "argument --file: give it once, as predict"),
        ("evaluate --model m --dataset a --dataset b", "argument --dataset: give it once"),
        ("evaluate --model m --file a --format conll --format json", "--format: give it once"),
        ("train --train-file a --tag-column 1 --train-file b --tag-column 3", "--tag-column: give"),
        ("audit --apply a --apply b --file c --output-file d", "--apply: give it once, as audit"),
        ("evaluate --model m --file a b", "unexpected 'b': --file takes one value"),
        (
            "train --train-file a b",
            "unexpected 'b': --train-file takes one value; repeat it for each: --train-file a "
            "--train-file b",
        ),
        ("export --model m --output-dir o --split x", "--split needs --dataset"),
        (
            "export --model m --output-dir o --file f --max-f1-loss nan",
            "max_f1_loss must be a number of at least 0: got nan",
        ),
    ],
)
def test_invalid_flag_values_are_refused(line, told, capsys):
    name, *words = line.split()
    with contextlib.suppress(SystemExit):
        assert COMMANDS[name].load().main(words, name) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        *(("train", flag) for flag in ("map-types", "drop-types", "class-weights")),
        ("evaluate --model m", "same-type"),
        *(("embeddings", flag) for flag in ("train-vectors", "corpus", "words")),
    ],
)
def test_a_repeated_flag_of_several_values_keeps_all_of_them(name, flag):
    """Not only the last, as argparse does by default: types of a first --drop-types were kept."""
    name, *required = name.split()
    words = [*required, f"--{flag}", "A=1", "B=2", f"--{flag}", "C=3"]
    given = vars(COMMANDS[name].load().parser().parse_args(words))
    assert ["A=1", "B=2", "C=3"] in given.values()


def test_every_script_is_a_command():
    homes = {}
    for script in (ROOT / "scripts").glob("*.py"):
        source = script.read_text("utf-8")
        homes[script.name] = next(
            name for name, command in COMMANDS.items() if f"from {command.module} import" in source
        )
    assert set(homes.values()) == set(COMMANDS) - NO_SCRIPT
    for script, name in homes.items():
        assert COMMANDS[name].load().parser().prog == script


def test_help_imports_nothing_heavy():
    """`flaxner --help` answers in a twentieth of a second, since it imports nothing else."""
    code = "import sys, flaxner.commands.console as c; c.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    usage, _, modules = done.stdout.rpartition("\n")[0].rpartition("\n")
    assert all(f"  {name} " in usage for name in COMMANDS)
    ours = {module for module in modules.split() if module.startswith("flaxner")}
    assert ours == {"flaxner", "flaxner.commands", "flaxner.commands.console"}
    assert not {"jax", "numpy", "rich", "argparse"} & set(modules.split())


def test_version_help_and_unknown_subcommands(capsys):
    assert console.main(["--version"]) == 0
    assert capsys.readouterr().out == f"flaxner {__version__}\n"
    assert console.main([]) == 2
    assert "SUBCOMMAND" in capsys.readouterr().out
    assert console.main(["trian"]) == 2
    assert capsys.readouterr().err == "flaxner: unknown subcommand 'trian'; did you mean train?\n"
    assert console.main(["\x1b[31m"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_env_prints_what_a_bug_report_needs(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert console.main(["env"]) == 0
    printed = capsys.readouterr().out
    assert f"- flaxner: {__version__}\n" in printed
    assert "- jax: " in printed
    assert "- devices: 8 x cpu (cpu)" in printed
    assert "hf_secret" not in printed


def test_completion_has_every_flag(capsys):
    pytest.importorskip("shtab")
    assert console.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert name in script
        for action in command.load().parser()._actions:
            assert all(flag in script for flag in action.option_strings)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_commands_to_type_are_those_of_the_program_that_runs(monkeypatch):
    """An installed package, also one that a user's own program imports, has no scripts."""
    words = ("--config", "my runs/config.toml", "--resume")
    rest = "--config 'my runs/config.toml' --resume"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "train.py")])
    assert command_line("train", *words) == f"python scripts/train.py {rest}"
    assert command_line("convert", "a") == "python scripts/convert_and_push.py a"
    scripts = [command_line(name).split("/")[1] for name in COMMANDS.keys() - NO_SCRIPT]
    assert all((ROOT / "scripts" / script).is_file() for script in scripts)
    for program in ("/usr/bin/flaxner", "/lib/site-packages/flaxner/__main__.py", "train.py", ""):
        monkeypatch.setattr(sys, "argv", [program, "train"])
        assert command_line("convert", "a") == "flaxner convert a"
        assert command_line("train", *words) == f"flaxner train {rest}"
