"""What `train.py --inspect` prints: tables on a terminal, plain columns elsewhere."""

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
from flaxner.data.selection import select
from flaxner.data.sources import read_sources
from flaxner.inspection import measures as inspection
from flaxner.models.scratch import tokenizer_of
from flaxner.training.preparation import document_warnings, resolve

BAR = 30  # characters of the longest bar
FORMS = 10  # ambiguous forms that are shown
PLAIN_WIDTH = 120  # of tables where the output is no terminal


def inspect(config: TrainConfig, *, console: Console | None = None) -> None:
    """Print what the corpora of a run hold and what training would meet; write nothing.

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
    """Prints the parts, one after the other."""

    def __init__(self, console: Console) -> None:
        self.live = console.is_terminal
        plain = Console(file=console.file, width=PLAIN_WIDTH)
        self.console = console if self.live else terminal.console(plain)

    def say(self, text: str) -> None:
        """A line, as it is."""
        self.console.print(Text(text), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table whose first column is words and whose others are figures, or end in words."""
        style: dict[str, Any] = {"box": box.SIMPLE_HEAD} if self.live else {"box": None}
        table = Table(pad_edge=False, title_justify="left", **style)
        for i, name in enumerate(columns):
            left = i == 0 or name.startswith(" ")
            table.add_column(Text(name.strip()), justify="left" if left else "right")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.say(f"\n{title}")
        self.console.print(table)

    def corpora(self, config: TrainConfig, corpora: Mapping[str, Corpus]) -> None:
        """Sentences, words, entities, scheme and repairs of every split, and the readers' notes."""
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
        for line in document_warnings(config, corpora):
            self.say(f"note: {line}")
        columns = ("split", "sentences", "words", "entities", "repaired", " scheme")
        self.table("Corpora (repaired: tags illegal in their scheme)", columns, rows)

    def types(self, corpora: Mapping[str, Corpus]) -> None:
        """Entities of every type in every split, and where the splits differ."""
        counts = {split: entity_counts(corpus) for split, corpus in corpora.items()}
        kinds = sorted(set().union(*counts.values()), key=lambda k: (-counts["train"][k], k))
        rows = [(kind, *(f"{counts[split][kind]:,}" for split in counts)) for kind in kinds]
        self.table("Entities of each type", ("type", *counts), rows)
        if not counts["train"]:
            self.say("the training split has no entity: training refuses it")
        for line in inspection.type_differences(corpora):
            self.say(line)

    def tokens(self, config: TrainConfig, corpora: Mapping[str, Corpus], train: Corpus) -> None:
        """Lengths in tokens, fill, steps and time; or why they are unknown.

        Args:
          config: the settings.
          corpora: split -> corpus.
          train: what a run trains on, a fold's part of the training split perhaps.
        """
        try:
            tokenizer = tokenizer_of(config.model, config.revision, corpora["train"])
        except ValueError as error:
            self.say(f"\nLengths, fill and steps are counted in tokens, and {error}")
            return
        for warning in casing_warnings(corpora, tokenizer, config.model):
            self.say(f"note: {warning}")
        tokenised = {s: inspection.token_lengths(c, tokenizer) for s, c in corpora.items()}
        self._lengths({split: lengths for split, (_, lengths) in tokenised.items()})
        whole = tokenised["train"][0]
        if train is not corpora["train"]:
            whole = inspection.token_lengths(train, tokenizer)[0]
        self._plan(config, inspection.make_plan(config, train, whole, tokenizer))

    def _lengths(self, lengths: Mapping[str, np.ndarray]) -> None:
        counts = {
            split: {(a, b): n for a, b, n in inspection.histogram(values)}
            for split, values in lengths.items()
        }
        bounds = sorted(set().union(*counts.values()))
        most = max(counts["train"].values(), default=1)
        rows = []
        for a, b in bounds:
            bar = ("█" if self.live else "#") * -(-BAR * counts["train"].get((a, b), 0) // most)
            shown = (f"{by_bound.get((a, b), 0):,}" for by_bound in counts.values())
            rows.append((f"{a:,}-{b:,}", *shown, bar))
        title = "Tokens of a sentence, [CLS] and [SEP] included (the bar is the training split)"
        self.table(title, ("tokens", *counts, " "), rows)
        for split, values in lengths.items():
            middle, high = np.percentile(values, (50, 99))
            self.say(
                f"{split}: mean {values.mean():.1f}, median {middle:.0f}, 99% up to {high:.0f}, "
                f"longest {values.max():,}"
            )

    def _plan(self, config: TrainConfig, plan: inspection.Plan) -> None:
        if plan.windowed:
            self.say(
                f"{plan.windowed:,} training sentences are over --max-length {config.max_length} "
                "and become windows"
            )
        self.say(
            f"\nTraining: {plan.steps:,} steps of {plan.step} "
            f"({plan.steps_per_epoch:,} an epoch, {config.epochs:g} epochs), "
            f"{plan.tokens:,} tokens; rows of {config.row_length} are filled {plan.fill:.0%} "
            f"({plan.unpacked:.0%} without packing)" + _times(config)
        )
        if plan.seconds is None:
            self.say(
                "Time: not known before steps have been run; training shows it after the first, "
                "and scripts/preflight.py bounds it for a TPU"
            )
        else:
            self.say(
                f"Time: about {plan.seconds / 60:,.1f} min, evaluations not counted, "
                f"at the speed of the run in {plan.measured_by}"
            )

    def repeated(self, corpora: Mapping[str, Corpus]) -> None:
        """Leakage: what validation and test share with the training split."""
        train = corpora["train"]
        self.say(
            f"\nRepetition: {inspection.repeated_within(train):,} sentences of the training split "
            "repeat an earlier one"
        )
        for split, corpus in corpora.items():
            if split == "train":
                continue
            shared = inspection.repeated(corpus, train)
            seen, total = inspection.seen_names(corpus, train)
            self.say(
                f"{split}: {shared.sentences:,} of {len(corpus):,} sentences are in the training "
                f"split ({shared.long:,} of them of {inspection.LONG} words or more, "
                f"{shared.retagged:,} with other tags); "
                f"{seen:,} of {total:,} entities have a form and type seen there"
            )
            if shared.long:
                self.say(f"  such as: {' '.join(shared.example)[:200]}")

    def ambiguous(self, train: Corpus) -> None:
        """The forms that a table of forms would get wrong most often."""
        forms = inspection.ambiguous_forms(train)
        rows = [
            (form.text[:50], ", ".join(f"{kind} {n:,}" for kind, n in form.readings.most_common()))
            for form in forms[:FORMS]
        ]
        title = (
            f"Most ambiguous forms of {len(forms):,} with several readings in the training split "
            "(O: no word tagged)"
        )
        if rows:
            self.table(title, ("form", " readings"), rows)
        else:
            self.say("\nNo form of an entity in the training split has another reading")


def _times(config: TrainConfig) -> str:
    """How many models are trained so, where it is not one."""
    if config.cross_validation and not config.fold:
        return f"; about as much for each of the {config.cross_validation} folds"
    return f"; as much for each of the {config.seeds} seeds" if config.seeds > 1 else ""
