"""Build the package, install it elsewhere, and test it end to end, as a new user would.

`python tests/installed.py [--resolution lowest-direct|highest] [--from sdist|wheel] [--python P]
[--epochs N]` needs a package index, and `build`, `twine` and `uv` (`pip install build twine uv`).
The folder, the virtual environment and HOME are new and empty; the checkout is not on the path.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRESETS = tuple(f"presets/{name}.toml" for name in ("quickstart", "conll2003", "strong"))
DATA = ("py.typed", *PRESETS, "data/sample.txt", "templates/model_card.md.jinja")
TEXT = "The headquarters of Google is located in Mountain View, California."
# All steps use only what a user installs: neither torch nor the test extra.
ROAD = (
    "train --preset quickstart --output-dir run",
    "evaluate --model run/hub --file run/predictions/test.conll --tag-column 1 --output-dir scored",
    "convert run --output-dir folder",
    "export --model run/hub --output-dir program",
    "predict --model run/hub Berlin",
    "compare run run --resamples 200",
    "report run --output-file page.html",
    "env",
)
ANSWERS = """
import flaxner, json, sys
text = sys.argv[1]
ner = flaxner.pipeline("ner", model="folder", aggregation_strategy="simple")
words = [entity["word"] for entity in ner(text)]
assert words, "no entity"
assert flaxner.load_exported("program")(text, aggregation_strategy="simple") == ner(text)
print(json.dumps([flaxner.__file__, words]))
"""


def main() -> int:
    """Test one set of versions; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", choices=("highest", "lowest-direct"), default="highest")
    parser.add_argument("--from", dest="kind", choices=("wheel", "sdist"), default="wheel")
    parser.add_argument("--python", default=sys.executable, help="Python interpreter to test")
    parser.add_argument("--epochs", help="epochs of training, for slow machines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        built = build(place / "dist", given.kind)
        python = install(place / "venv", built, given.python, given.resolution)
        go(place / "elsewhere", python, given.epochs)
    print(f"passed: {given.kind}, {given.resolution} versions, {given.python}")
    return 0


def build(dist: Path, kind: str) -> Path:
    """Build and check wheel and sdist; return the one to install."""
    run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)])
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())])
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in DATA if f"flaxner/{name}" not in names]
    if missing or any(name.startswith(("tests/", "scripts/")) for name in names):
        raise SystemExit(f"the wheel lacks {missing} or holds more than the package")
    return wheel if kind == "wheel" else next(dist.glob("*.tar.gz"))


def install(venv: Path, built: Path, interpreter: str, resolution: str) -> Path:
    """Create a virtual environment with the package in these versions; return its Python."""
    run([interpreter, "-m", "venv", "--without-pip", str(venv)])
    python = venv / "bin" / "python"
    install_ = ["pip", "install", "-q", "--python", str(python), "--resolution", resolution]
    run([sys.executable, "-m", "uv", *install_, f"{built}[export]"])
    run([sys.executable, "-m", "uv", "pip", "list", "--python", str(python)])
    return python


def go(place: Path, python: Path, epochs: str | None) -> None:
    """Run every command in an empty folder with an empty HOME."""
    (place / "home").mkdir(parents=True)
    variables = {"PATH": os.environ["PATH"], "HOME": str(place / "home"), "HF_HUB_OFFLINE": "1"}
    shorter = {ROAD[0]: f"{ROAD[0]} --epochs {epochs}"} if epochs else {}
    for command in (shorter.get(command, command) for command in ROAD):
        run([str(python.parent / "flaxner"), *command.split()], cwd=place, env=variables)
    answered = run([str(python), "-c", ANSWERS, TEXT], cwd=place, env=variables, show=False)
    file, words = json.loads(answered.splitlines()[-1])
    if not file.startswith(str(python.parent.parent)):
        raise SystemExit(f"{file} was imported, not what was installed")
    print("entities:", words)


def run(command: list[str], *, show: bool = True, **options: object) -> str:
    """Run a command, show it and its output, and exit if it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(command, text=True, capture_output=not show, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"failed with {done.returncode}: {' '.join(command)}\n{done.stderr or ''}")
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
