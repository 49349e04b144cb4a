"""Training with several seeds: one run each, their mean scores, and the best one published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.publishing.best_seed import publish_seed
from flaxner.runs.folder import RunFolder
from flaxner.training.members import Member, Whole, best_of, mean_lines, summarise
from flaxner.training.session import checked, running, train_member
from flaxner.training.shared import Shared
from flaxner.training.together import Stacks, at_once, train_together
from flaxner.training.watching import Watch


def train_seeds(config: TrainConfig, console: Console, watch: Watch) -> tuple[Path, dict[str, Any]]:
    """Train and score with every seed; on `--resume`, seeds that have ended are not repeated.

    Each seed is an ordinary run. Trained one after the other, seeds equal their single runs to the
    last bit; trained in one step, up to rounding. `--resume` with more seeds adds the new ones.

    Args:
      config: settings with several `seeds`.
      console: where progress is shown.
      watch: called after every evaluation of every seed.

    Returns:
      The Hub folder, with the model of the best seed, and the contents of results.json.

    Raises:
      ValueError: as for `train`; nothing is written before the first seed has been checked.
    """
    whole = Whole(config, [_member(config, i) for i in range(config.seeds)])
    whole.check()
    try:
        results = _Training(whole, console, watch).results()
        seeds = [member.config.seed for member in whole.members]
        best = best_of(results)
        summary = {"seeds": seeds, "best_seed": seeds[best], **summarise(results, "seeds")}
        said = processes.on_main(lambda: publish_seed(whole.run, whole.members[best].run, summary))
        said += whole.end(summary)
    finally:
        whole.run.release()
    console.print(seeds_table(summary))
    for line in [*said, *mean_lines(summary, f"{len(seeds)} seeds"), _choice(whole.run, summary)]:
        console.print(line)
    return whole.run.hub, summary


class _Training:
    """Trains the members of a whole, possibly several together."""

    def __init__(self, whole: Whole, console: Console, watch: Watch) -> None:
        self._whole, self._console, self._watch = whole, console, watch
        self._shared = Shared()
        self._stacks: Stacks | None = None

    def results(self) -> list[Mapping[str, Any]]:
        """Return results.json of each member."""
        members = self._whole.members
        size = self._size() if any(map(self._is_open, members)) else 1
        return [result for group in in_groups(members, size) for result in self._group(group)]

    def _size(self) -> int:
        """Return how many seeds to train together, and print why."""
        say = self._console.print
        with running(self._whole.members[0].run, self._console):

            def stacks() -> Stacks:
                made = self._stacked()
                say("compiling a step of several seeds to see how many fit")
                return made

            size, why = at_once(self._whole.config, stacks)
        say(why)
        return size

    def _is_open(self, member: Member) -> bool:
        """Whether a member has not ended, or is to be replaced."""
        return not (self._whole.config.resume and processes.on_main(member.run.results.is_file))

    def _group(self, members: Sequence[Member]) -> list[Mapping[str, Any]]:
        """Return the results of a group; members that have ended do not join the others' step."""
        together = [member for member in members if self._is_open(member)]
        if len(together) < 2:
            return [self._one(member) for member in members]
        made = {member.title: self._one(member) for member in members if member not in together}
        named = ", ".join(str(member.config.seed) for member in together)
        self._console.print(f"training seeds {named} in one step")
        trained = train_together(
            together, self._stacked(), self._shared, self._console, self._watch, self._whole
        )
        made |= dict(zip((member.title for member in together), trained, strict=True))
        return [made[member.title] for member in members]

    def _one(self, member: Member) -> Mapping[str, Any]:
        return train_member(member, self._whole, self._console, self._watch, self._shared)

    def _stacked(self) -> Stacks:
        if self._stacks is None:
            first, *_ = members = self._whole.members
            prepared = checked(first.config, first.run, self._shared)
            self._stacks = Stacks(prepared, [member.config.seed for member in members])
        return self._stacks


def in_groups(members: Sequence[Member], size: int) -> list[list[Member]]:
    """Split members into even groups of at most `size`, regardless of which have ended."""
    parts = np.array_split(np.arange(len(members)), -(-len(members) // size))
    return [[members[i] for i in part] for part in parts]


def _member(config: TrainConfig, index: int) -> Member:
    """Return the run of the seed with this index, counting from 0."""
    seed = config.seed + index
    folder = Path(config.output_dir) / f"seed-{seed}"
    own = config.replace(seed=seed, seeds=1, seeds_at_once=0, output_dir=str(folder))
    return Member(f"seed {seed}, {index + 1} of {config.seeds}", own, RunFolder(folder))


def _choice(run: RunFolder, summary: Mapping[str, Any]) -> str:
    chosen = "validation" in summary
    why = "the best on validation" if chosen else "the first, as there is no validation split"
    return f"model of seed {summary['best_seed']}, {why}: {run.hub}"


def seeds_table(summary: Mapping[str, Any]) -> Table:
    """Return a table of every seed's F1 on both splits, with mean and standard deviation."""
    splits = [split for split in ("validation", "test") if split in summary]
    table = Table(title=f"F1 of {len(summary['seeds'])} seeds", title_justify="left")
    for column in ("seed", *splits):
        table.add_column(column, justify="right", overflow="fold")
    f1 = [summary[split]["overall_f1"] for split in splits]
    for i, seed in enumerate(summary["seeds"]):
        mark = " *" if seed == summary["best_seed"] else ""
        table.add_row(f"{seed}{mark}", *(f"{of['seeds'][i]:.4f}" for of in f1))
    table.add_section()
    table.add_row("mean", *(f"{of['mean']:.4f} ± {of['std']:.4f}" for of in f1))
    return table
