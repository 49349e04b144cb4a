"""Print the report of `train.py --inspect`: tables on a terminal, plain columns elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flaxner import terminal
from flaxner.config.train import TrainConfig
from flaxner.data.casing import casing_warnings
from flaxner.data.corpus import Corpus, entity_counts
from flaxner.data.segments import align
from flaxner.data.selection import select
from flaxner.data.sources import read_sources
from flaxner.inspection import measures
from flaxner.models.scratch import tokenizer_of
from flaxner.training.doubts import corpus_warnings, shortened_words
from flaxner.training.preparation import resolve
from flaxner.typed_commands import command_line
from flaxner.wording import number_of

BAR = 30  # characters of the longest bar
FORMS = 10  # ambiguous forms to show
PLAIN_WIDTH = 120  # of tables if the output is not a terminal


def inspect(config: TrainConfig, *, console: Console | None = None) -> None:
    """Print what a run's corpora contain and what training would do with them; write nothing.

    Raises:
      ValueError: a corpus cannot be read.
    """
    report = Report(terminal.console(console))
    config = resolve(config)
    read = read_sources(config)
    corpora = select(read, config)
    report.corpora(config, corpora)
    report.types(corpora)
    folds = config.cross_validation and not config.fold
    one = select(read, config.replace(fold=1)) if folds else corpora
    report.tokens(config, corpora, one["train"])
    report.repeated(corpora)
    report.ambiguous(corpora["train"])


class Report:
    """Prints the parts of the report."""

    def __init__(self, console: Console) -> None:
        self.live = console.is_terminal
        plain = Console(file=console.file, width=PLAIN_WIDTH)
        self.console = console if self.live else terminal.console(plain)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(Text(text), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table of figures; the first column and columns named " x" hold text."""
        style: dict[str, Any] = {"box": box.SIMPLE_HEAD} if self.live else {"box": None}
        table = Table(pad_edge=False, title_justify="left", **style)
        for i, name in enumerate(columns):
            left = i == 0 or name.startswith(" ")
            table.add_column(
                Text(name.strip()),
                justify="left" if left else "right",
                overflow="fold" if name.strip() else "crop",  # bars may be cut, figures may not
            )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.say(f"\n{title}")
        self.console.print(table)

    def corpora(self, config: TrainConfig, corpora: Mapping[str, Corpus]) -> None:
        """Print each split's sentences, words, entities, scheme, repairs and reader's notes."""
        rows = [
            (
                split,
                f"{len(corpus):,}",
                f"{corpus.words:,}",
                f"{entity_counts(corpus).total():,}",
                f"{corpus.repaired:,}",
                corpus.scheme,
            )
            for split, corpus in corpora.items()
        ]
        for split, corpus in corpora.items():
            self.say("; ".join((f"{split}: {corpus.source}", *corpus.notes)))
        for line in corpus_warnings(config, corpora):
            self.say(f"note: {line}")
        columns = ("split", "sentences", "words", "entities", "repaired", " scheme")
        self.table("Corpora (repaired: tags illegal in their scheme)", columns, rows)

    def types(self, corpora: Mapping[str, Corpus]) -> None:
        """Print each split's entities by type, and the differences between splits."""
        counts = {split: entity_counts(corpus) for split, corpus in corpora.items()}
        kinds = sorted(set().union(*counts.values()), key=lambda k: (-counts["train"][k], k))
        rows = [(kind, *(f"{counts[split][kind]:,}" for split in counts)) for kind in kinds]
        self.table("Entities of each type", ("type", *counts), rows)
        if not counts["train"]:
            self.say("the training split has no entities: training refuses this")
        for line in measures.type_differences(corpora):
            self.say(line)

    def tokens(self, config: TrainConfig, corpora: Mapping[str, Corpus], train: Corpus) -> None:
        """Print lengths in tokens, fill, steps and time, or why they are unknown.

        Args:
          config: the settings.
          corpora: split -> corpus.
          train: what a run trains on; with folds, only part of the training split.
        """
        try:
            tokenizer = tokenizer_of(config.model, config.revision, corpora["train"])
        except ValueError as error:
            self.say(f"\nLengths, fill and steps require a tokenizer: {error}")
            return
        for warning in casing_warnings(corpora, tokenizer, config.model):
            self.say(f"note: {warning}")
        tokenised = {s: measures.whole_sentences(c, tokenizer) for s, c in corpora.items()}
        long = {s: corpora[s] for s, x in tokenised.items() if x.lengths.max() > config.max_length}
        windows = {
            s: align(c.sentences, tokenizer, None, config.max_length) for s, c in long.items()
        }
        for warning in shortened_words(long, windows, config.max_length):
            self.say(f"note: {warning}")
        self._lengths({split: segments.lengths for split, segments in tokenised.items()})
        whole = tokenised["train"]
        if train is not corpora["train"]:
            whole = measures.whole_sentences(train, tokenizer)
        self._plan(config, measures.make_plan(config, train, whole, tokenizer))

    def _lengths(self, lengths: Mapping[str, np.ndarray]) -> None:
        counts = {
            split: {(a, b): n for a, b, n in measures.histogram(values)}
            for split, values in lengths.items()
        }
        bounds = sorted(set().union(*counts.values()))
        most = max(counts["train"].values(), default=1)
        rows = []
        for a, b in bounds:
            bar = ("█" if self.live else "#") * -(-BAR * counts["train"].get((a, b), 0) // most)
            shown = (f"{by_bound.get((a, b), 0):,}" for by_bound in counts.values())
            rows.append((f"{a:,}-{b:,}", *shown, bar))
        title = "Tokens per sentence, including [CLS] and [SEP] (bars: training split)"
        self.table(title, ("tokens", *counts, " "), rows)
        for split, values in lengths.items():
            middle, high = np.percentile(values, (50, 99))
            self.say(
                f"{split}: mean {values.mean():.1f}, median {middle:.0f}, 99th percentile "
                f"{high:.0f}, longest {values.max():,}"
            )

    def _plan(self, config: TrainConfig, plan: measures.Plan) -> None:
        if plan.windowed:
            self.say(
                number_of(plan.windowed, "sentences of the training split are longer")
                + f" than --max-length {config.max_length} and split into windows"
            )
        self.say(
            f"\nTraining: {number_of(plan.steps, 'steps')} of {plan.step} "
            f"({plan.steps_per_epoch:,} per epoch, {config.epochs:g} "
            f"{'epoch' if config.epochs == 1 else 'epochs'}), "
            f"{plan.tokens:,} tokens; rows of {plan.row_length} are {plan.fill:.0%} full "
            f"({plan.unpacked:.0%} without packing)" + _times(config)
        )
        if plan.seconds is None:
            self.say(
                "Time: unknown until steps have run; training shows it after the first, and "
                f"{command_line('preflight')} gives a bound for TPUs and GPUs"
            )
        else:
            self.say(
                f"Time: about {plan.seconds / 60:,.1f} min, evaluations included, "
                f"at the speed of the run in {plan.measured_by}"
            )

    def repeated(self, corpora: Mapping[str, Corpus]) -> None:
        """Print leakage: what validation and test share with the training split."""
        train = corpora["train"]
        known: measures.Known = {}
        own = measures.repeated(train, known, add=True)
        self.say(
            "\nRepetition: "
            + number_of(
                own.sentences, "sentences of the training split have occurred before", len(train)
            )
            + (f" ({own.retagged:,} of them with other tags)" if own.retagged else "")
        )
        if own.retagged:
            self.say(f"  for example: {' '.join(own.contradiction)[:200]}")
        names = set(measures.entities(train))
        for split, corpus in corpora.items():
            if split == "train":
                continue
            shared = measures.repeated(corpus, known)
            seen = [name in names for name in measures.entities(corpus)]
            self.say(
                f"{split}: {number_of(shared.sentences, 'sentences are', len(corpus))} also in the "
                f"training split ({shared.long:,} of them with {measures.LONG} words or more, "
                f"{shared.retagged:,} with other tags); "
                + number_of(sum(seen), "entities are", len(seen))
                + " there with the same form and type"
            )
            if shared.long:
                self.say(f"  for example: {' '.join(shared.example)[:200]}")

    def ambiguous(self, train: Corpus) -> None:
        """Print the forms that a lookup would get wrong most often."""
        forms = measures.ambiguous_forms(train)
        rows = [
            (form.text[:50], ", ".join(f"{kind} {n:,}" for kind, n in form.readings.most_common()))
            for form in forms[:FORMS]
        ]
        title = (
            f"Most ambiguous of {len(forms):,} forms with several readings in the training split "
            "(O: no word tagged)"
        )
        if rows:
            self.table(title, ("form", " readings"), rows)
        else:
            self.say("\nNo entity form in the training split has more than one reading")


def _times(config: TrainConfig) -> str:
    """Return a note if several models are trained this way."""
    if config.cross_validation and not config.fold:
        return f"; about as much for each of the {config.cross_validation} folds"
    return f"; as much for each of the {config.seeds} seeds" if config.seeds > 1 else ""
