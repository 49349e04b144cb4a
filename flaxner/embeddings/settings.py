"""The command line of the comparison, and the corpora, vectors and model that it names."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.config.files import laid_over, load_preset, load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.readers import READING, ReadOptions
from flaxner.files import Kind, check_folder, holds
from flaxner.runs.paths import RunPaths, contents, refuse_runs

# Training settings that the comparison shares; its other flags are its own.
SHARED = (
    "model", "dataset", "train_file", "validation_file", "test_file", "epochs", "batch_size",
    "learning_rate", "max_length", "seed", *READING,
)  # fmt: skip
BASE = "quickstart"  # the preset that those settings are laid over
# Over it for a pretrained BERT: Devlin et al. 2019, appendix A.3, not the rate for random weights.
PRETRAINED = {"learning_rate": 5e-5, "epochs": 3.0, "max_length": 128}
WRITTEN = ("comparison.json", "index.html", "bert", "heads", "figures")


def _is_comparison(folder: Path) -> bool:
    """Whether an earlier version wrote comparison.json."""
    return holds(folder / "comparison.json", "static", "contextual", "separation")


COMPARISON = Kind(
    "a comparison of embeddings", "index.html", ("comparison.json", "index.html"),
    known=_is_comparison,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to compare, and where to write the results.

    Attributes:
      config: settings of the BERT run: corpora, model, hyper-parameters.
      reading: how files of `train_vectors` and `corpus` are read.
      run: a finished run whose model and predictions are used instead of training a new one.
      vectors: file or downloader name of static vectors; None trains word2vec.
      train_vectors: text for word2vec; the training corpus if empty.
      vector_limit: maximum number of vectors to read; None: all.
      corpus: files with the occurrences to look at; validation and test if empty.
      words: words to show; chosen by their ambiguity if empty.
      layers: layers of BERT, as `contextual.parse_layers` reads them.
      pooling: how a word's tokens become its vector.
      taggers: whether to train and score the taggers.
      output_dir: where results go.
      overwrite: replace an earlier comparison there.
    """

    config: TrainConfig
    output_dir: Path
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    run: RunPaths | None = None
    vectors: str | None = None
    train_vectors: tuple[str, ...] = ()
    vector_limit: int | None = 500_000
    corpus: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    layers: str = "mean"
    pooling: str = "mean"
    taggers: bool = True
    overwrite: bool = False


def parser(prog: str = "compare_embeddings.py") -> Parser:
    """Create the command-line parser."""
    instead = ", ".join(f"--{k.replace('_', '-')} {v:g}" for k, v in PRETRAINED.items())
    flags = Parser(
        prog=prog,
        description="Compare static word vectors with BERT's contextual ones: tables, "
        "comparison.json, index.html and PNG files. Without flags: word2vec and a tiny BERT, both "
        "trained on the embedded corpus, without a network. With a pretrained --model, the "
        f"defaults are {instead}.",
    )
    add_flags(flags)
    return flags


def parse_settings(
    arguments: Sequence[str] | None = None, prog: str = "compare_embeddings.py"
) -> Settings:
    """Parse the command line into settings; exit with code 2 if it is wrong."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))
    try:
        return _settings(given)
    except ValueError as error:
        flags.error(str(error))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the comparison's own flags, then those it shares with training."""
    add = parser.add_argument
    add("--vectors", type=path, metavar="NAME_OR_FILE",
        help="static vectors: a word2vec, GloVe or fastText file, or a name that gensim's "
        "downloader knows, such as word2vec-google-news-300 (default: train word2vec)")  # fmt: skip
    add("--train-vectors", type=path, action="extend", nargs="+", default=[], metavar="FILE",
        help="corpora to train word2vec on (default: the training corpus)")  # fmt: skip
    add("--vector-limit", type=int, default=500_000, metavar="N",
        help="read only the first N vectors of a file; 0: all (default: 500000)")  # fmt: skip
    add("--corpus", type=path, action="extend", nargs="+", default=[], metavar="FILE",
        help="corpora whose occurrences are compared (default: validation and test)")  # fmt: skip
    add("--words", action="extend", nargs="+", default=[], metavar="WORD",
        help="words to show (default: a few ambiguous ones)")  # fmt: skip
    add("--layers", default="mean",
        help="layers to average: mean (all but the embeddings), last, or numbers such as 4 or "
        "-1,-2 (default: mean)")  # fmt: skip
    add("--pooling", choices=("mean", "first"), default="mean",
        help="a word's vector: the mean of its tokens or the first (default: mean)")  # fmt: skip
    add("--taggers", action=argparse.BooleanOptionalAction, default=True,
        help="train and score the taggers (default: yes)")  # fmt: skip
    add("--output-dir", type=path, default="runs/embeddings", metavar="DIR",
        help="output folder (default: runs/embeddings)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace an earlier comparison in that folder")
    add_settings(parser, SHARED, defaults=load_preset(BASE))


def _settings(given: dict) -> Settings:
    shared = {name: given.pop(name) for name in SHARED if name in given}
    if given["vectors"] and given["train_vectors"]:
        raise ValueError("--vectors and --train-vectors are mutually exclusive")
    if given["vector_limit"] < 0:
        raise ValueError(f"--vector-limit must be at least 0: got {given['vector_limit']}")
    folder = Path(given.pop("output_dir"))
    # With a run, whose own corpora are read as they were, these apply to the other files.
    reading = {name: shared[name] for name in READING if name in shared}
    config, run = _training(shared, folder)
    given["vector_limit"] = given["vector_limit"] or None
    for name in ("train_vectors", "corpus", "words"):
        given[name] = tuple(given[name])
    return Settings(config, folder, ReadOptions(**reading), run, **given)


def _training(shared: dict, folder: Path) -> tuple[TrainConfig, RunPaths | None]:
    """Return the settings of the BERT run, and the run itself if --model is a finished one."""
    from flaxner.models.scratch import SCRATCH  # slow: --help and wrong flags come before
    from flaxner.runs.replacing import refuse_half_moved

    run = RunPaths(shared.get("model", ""))
    if "model" in shared:
        refuse_half_moved(run.path)
    if "model" in shared and run.config.is_file():
        if members := run.members():
            raise ValueError(
                f"{run.path} holds {len(members)} runs: name one of them, such as {members[0]}"
            )
        if not (run.results.is_file() and run.hub.is_dir()):
            raise ValueError(f"the run in {run.path} has not finished: it has no hub/ yet")
        extra = sorted(set(shared) - {"model", *READING})
        if extra:
            raise ValueError(
                f"--model {run.path} is a run, which brings its own settings: leave out "
                f"--{extra[0].replace('_', '-')}"
            )
        settings = load_settings(run.config)
        return TrainConfig(**{**settings, "output_dir": str(folder / "bert")}), run
    base = load_preset(BASE)
    if shared.get("model", base["model"]) not in SCRATCH:
        base |= PRETRAINED
    settings = laid_over(base, shared, chosen=False)
    return TrainConfig(**{**settings, "output_dir": str(folder / "bert")}), None


def check_output(settings: Settings) -> None:
    """Refuse an output folder that is in use.

    Raises:
      ValueError: it is in use, or holds files that no comparison wrote or that were changed.
    """
    folder = settings.output_dir
    refuse_runs(folder)
    there = contents(folder)
    foreign = [name for name in there if name not in WRITTEN]
    if foreign:
        raise ValueError(
            f"{folder} contains {foreign[0]!r}, which no comparison wrote: choose another "
            f"--output-dir"
        )
    if there and not settings.overwrite:
        raise ValueError(
            f"the output folder {folder} is in use: replace it with --overwrite, or choose another "
            f"--output-dir"
        )
    check_folder(folder, COMPARISON)
