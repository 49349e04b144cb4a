"""A preflight report as lines for people to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flaxner.aot.chips import GIB
from flaxner.aot.roofline import Roofline, link_bytes
from flaxner.wording import number_of

if TYPE_CHECKING:
    from flaxner.aot.report import PreflightReport, Together


def lines(report: PreflightReport) -> list[str]:
    """Return the lines of the table, one per item."""
    out = [*_head(report), *_memory(report)]
    if report.bounds is not None:
        out += _bounds(report, report.bounds)
    if report.together is not None:
        out += _together(report, report.together)
    if report.largest is not None:
        out.append(_line("largest batch", report.largest.sentence(report.topology.chips)))
    times = f"train {report.train.seconds:.0f} s, evaluation {report.predict.seconds:.0f} s"
    out.append(_line("compiling took", f"{times} (cached results repeat the original times)"))
    return out


def _head(report: PreflightReport) -> list[str]:
    work, chip = report.work, report.topology.chip
    head = [
        f"{report.model} on {report.topology.name}: {report.topology.chips} x {chip.title}",
        _line("model", f"{report.parameters:,} parameters"),
        _line(
            "step",
            f"{number_of(min(report.config.batch_size, work.sentences), 'sentences')} in "
            f"{number_of(work.rows, 'rows')} of {work.length} "
            f"({work.rows / report.topology.chips:g} per chip), {work.fill:.0%} full",
        ),
        _line("lengths", work.source),
    ]
    return [*head, _line("note", chip.note)] if chip.note else head


def _memory(report: PreflightReport) -> list[str]:
    train, predict, hbm = report.train, report.predict, report.topology.chip.hbm_bytes
    if report.topology.platform == "gpu" and not train.fits:
        verdict = (
            f"does NOT fit: {_gib(train.memory)} GiB needed, {_gib(train.available or hbm)} "
            f"available: {_gib(train.memory - (train.available or hbm))} over"
        )
    elif not train.fits:
        room = train.available or hbm
        verdict = (
            f"does NOT fit: {_gib(train.temporaries)} GiB requested, with or without the "
            f"arguments, {_gib(room)} available: {_gib(max(train.temporaries - room, 0))} over"
        )
    else:
        share = f"{train.memory / hbm:.0%}"
        verdict = f"fits: {_gib(train.memory)} of {_gib(hbm)} GiB per chip ({share})"
        if predict.fits:
            verdict += f", evaluation {_gib(predict.memory)} GiB"
    parts = (
        f"parameters {_gib(report.params_bytes)}, optimizer {_gib(report.optimizer_bytes)}, "
        f"temporaries {_gib(train.temporaries)}, program {_gib(train.code)} GiB"
    )
    out = [_line("memory", verdict), _line("", parts)]
    if not predict.fits:
        rows = number_of(report.work.evaluation_rows, "rows of evaluation")
        there = _gib(predict.available or hbm)
        needs = f"do NOT fit in the {there} GiB of a chip: try a smaller --eval-batch-size"
        out.append(_line("", f"{rows} {needs}"))
    if report.topology.platform == "gpu":
        share = f"{_gib(train.available or hbm)} of {_gib(hbm)} GiB are available for arrays"
        out.append(_line("", f"{share}; XLA_PYTHON_CLIENT_MEM_FRACTION changes that"))
    return out


def _together(report: PreflightReport, together: Together) -> list[str]:
    """Compare several seeds in one step with a step of one seed."""
    train, hbm = together.train, report.topology.chip.hbm_bytes
    name = f"{together.seeds} seeds at once"
    if together.bounds is None:
        room = train.available or hbm
        may = int(room // max(report.train.memory, 1)) if report.train.fits else 0
        advice = f": try --seeds-at-once {may}" if may > 1 else ""
        return [_line(name, f"do NOT fit in the {_gib(room)} GiB of a chip{advice}")]
    fits = f"fits: {_gib(train.memory)} of {_gib(hbm)} GiB per chip"
    out = [_line(name, f"{fits}, {number_of(together.rows, 'rows')} per seed")]
    one = report.bounds
    if one is not None:
        pairs = [("bound", together.bounds.seconds, one.seconds)]
        if together.bounds.estimate is not None and one.estimate is not None:
            pairs.append(("compiler's guess", together.bounds.estimate, one.estimate))
        said = ", ".join(
            f"{what} {all_ * 1e3:.2f} ms per step, {all_ / single:.1f} times one seed's"
            for what, all_, single in pairs
        )
        out.append(_line("", said))
    return out


def _between_slices(report: PreflightReport, bounds: Roofline) -> str:
    if report.topology.slices == 1:
        return ""
    if report.topology.platform == "gpu":
        rate = (
            f"{bounds.network * 1e3:.2f}" if bounds.network else "not counted (no rate published)"
        )
        return f", between nodes {rate}"
    if bounds.network:
        return f", between slices {bounds.network * 1e3:.2f}"
    return ", between slices not counted (the compiler turns them into host transfers)"


def _share(report: PreflightReport) -> str:
    """Return each part's share of the compiler's cycles if it estimates them, else of the bytes."""
    parts, whole = report.train.parts, report.train.cost
    by_cycles = whole.cycles > 0
    taken = {name: part.cycles if by_cycles else part.hbm_bytes for name, part in parts.items()}
    total = (whole.cycles if by_cycles else whole.hbm_bytes) or 1.0
    ordered = sorted(taken.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {n / total:.0%}" for name, n in ordered if n / total >= 0.005)


def _kernels(report: PreflightReport) -> list[str]:
    """Describe the kernels of GPUs, and how much chips reduce during the backward pass."""
    kernels, out = report.train.kernels, []
    of_gpus = report.topology.platform == "gpu"
    if of_gpus:
        text = f"{kernels.count:,} per step, {kernels.small:,} of them move less than 64 KiB"
        out.append(_line("kernels", text))
    if kernels.reduced:
        share = kernels.early / kernels.reduced
        out.append(
            _line("overlap", f"{share:.0%} of the reduced bytes start during the backward pass")
        )
    if not of_gpus:
        return out
    text = "actual times, since matrix kernels are chosen on a GPU"
    return [*out, _line("not known", text)]


def _bounds(report: PreflightReport, bounds: Roofline) -> list[str]:
    train, cost = report.train, report.train.cost
    rate, chip = report.rate, report.topology.chip
    lines = [
        _line(
            "a chip's step",
            f"{train.flops / 1e12:.3f} TFLOP in matrix products, {cost.hbm_bytes / 1e9:.2f} GB "
            f"of HBM traffic: {train.flops / cost.hbm_bytes:.0f} FLOP/byte "
            f"({rate / chip.hbm_rate:.0f} needed to be compute-bound)",
        ),
        _line(
            "least time",
            f"compute {bounds.compute * 1e3:.2f} ms, memory {bounds.memory * 1e3:.2f}, "
            f"links {bounds.interconnect * 1e3:.2f}"
            + _between_slices(report, bounds)
            + f": bound by {bounds.bound}",
        ),
    ]
    if bounds.estimate is not None:
        text = f"{bounds.estimate * 1e3:.2f} ms per step, links added"
        lines.append(_line("compiler's guess", text))
    name = "share of it" if cost.cycles else "share of bytes"
    lines.append(_line(name, _share(report)))
    kinds: dict[str, list[float]] = {}
    for each in train.collectives:
        kinds.setdefault(each.kind, []).append(link_bytes(each))
    collectives = "; ".join(
        f"{len(sent)} {kind}, {sum(sent) / 1e6:.1f} MB sent per chip"
        for kind, sent in kinds.items()
    )
    lines.append(_line("collectives", collectives or "none"))
    lines += _kernels(report)
    run = (
        f"{number_of(report.work.steps, 'steps')}, at most {1 / bounds.seconds:,.1f} per second"
        f"{_times(report)}: at least {_time(report.hours or 0.0)}"
    )
    if report.cost is not None:
        run += f", at least {_price(report.cost)} at {report.price:g} per chip and hour"
    lines.append(_line("run (a bound)", run + "; without start-up, compilation and evaluation"))
    return lines


def _times(report: PreflightReport) -> str:
    """Say how often a run of several models repeats its steps."""
    config, together = report.config, report.together
    if config.seeds > 1:
        at_once = together is not None and together.bounds is not None and together.seeds
        return f", for {config.seeds} seeds, {at_once or 1} at once"
    if report.folds > 1:
        return f", {report.folds} times for {config.cross_validation} folds"
    return ""


def _time(hours: float) -> str:
    for unit, number in (("minutes", hours * 60), ("seconds", hours * 3600)):
        if number >= 1:
            return f"{number:.1f} {unit}"
    return f"{hours * 3.6e6:.2f} ms"


def _price(cost: float) -> str:
    """Write a price with four decimals, or as many as three of its digits need."""
    places = 4 if cost == 0 else max(4, 2 - math.floor(math.log10(cost)))
    return f"{cost:.{places}f}"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _line(name: str, text: str) -> str:
    return f"  {name:<17}{text}"
