"""An audit, from a run to a folder with findings, a page, and files for annotation tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flaxner import templates
from flaxner.audit.confident import require_cleanlab
from flaxner.audit.evidence import find
from flaxner.audit.exports import corrected, write_doccano, write_label_studio
from flaxner.audit.findings import KINDS, Finding, write_findings
from flaxner.audit.held_out import HeldOut, read_held_out
from flaxner.data.tags import Span, tags_to_spans
from flaxner.files import Kind, check_folder, write_folder
from flaxner.runs.paths import refuse_runs
from flaxner.templates.colours import page_colours
from flaxner.terminal import shown
from flaxner.typed_commands import command_line
from flaxner.wording import number_of

FINDINGS, PAGE, DOCCANO, LABEL_STUDIO = (
    "findings.jsonl",
    "audit.html",
    "doccano.jsonl",
    "label_studio.json",
)
AUDIT = Kind("an audit", FINDINGS, (FINDINGS, PAGE, DOCCANO, LABEL_STUDIO))
APPLY = ["--apply", "decisions.jsonl", "--file", "CORPUS", "--output-file", "CORRECTED"]
MARK = "<!-- an audit of flaxner -->"


def audit(folder: str | Path, output_dir: str | Path, limit: int) -> list[str]:
    """Look for wrong annotations in the sentences that a run has held out.

    Args:
      folder: folder of the run, preferably a cross-validation.
      output_dir: folder for findings.jsonl, audit.html, doccano.jsonl and label_studio.json.
      limit: number of findings to write, the most likely errors first.

    Returns:
      lines that summarise the findings.

    Raises:
      ValueError: as in `read_held_out`; or cleanlab is missing, or the output folder contains
        files that no audit wrote.
    """
    require_cleanlab()
    target = Path(output_dir)
    refuse_runs(target)
    check_folder(target, AUDIT)
    sentences, scheme = read_held_out(folder)
    findings = find(sentences, scheme)
    kept = findings[:limit]
    by_place = {(s.source, s.number): s for s in sentences}
    given = [tags_to_spans(by_place[f.source, f.sentence].tags) for f in kept]

    def fill(draft: Path) -> None:
        write_findings(draft / FINDINGS, kept)
        write_doccano(draft / DOCCANO, kept, given)
        write_label_studio(draft / LABEL_STUDIO, kept, given)
        (draft / PAGE).write_text(page(str(folder), kept, given, len(findings)), "utf-8")

    notes = write_folder(target, AUDIT, fill)
    return [*_summary(sentences, findings, limit), *notes, str(target / PAGE)]


def _summary(sentences: Sequence[HeldOut], findings: Sequence[Finding], limit: int) -> list[str]:
    entities = sum(len(tags_to_spans(sentence.tags)) for sentence in sentences)
    likely = [finding for finding in findings if finding.score >= 0.5]
    counts = Counter(finding.kind for finding in likely)
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
    lines = [
        f"{number_of(len(sentences), 'sentences')} with {number_of(entities, 'entities')}: "
        f"{number_of(len(likely), 'findings have')} a score of 0.5 or more"
        + (f" ({kinds})" if kinds else "")
    ]
    if len(findings) > limit:
        lines.append(
            f"wrote the first {limit:,} of {len(findings):,} findings (--limit writes more)"
        )
    return lines


def page(
    name: str,
    findings: Sequence[Finding],
    given: Sequence[Sequence[Span]],
    total: int | None = None,
) -> str:
    """Return the page for reviewing findings and deciding on them.

    Args:
      name: name of what was audited.
      findings: findings, the most likely error first.
      given: all annotated entities of each finding's sentence.
      total: number of findings, including those left out; None if there are no others.
    """
    items = [_item(*pair) for pair in zip(findings, given, strict=True)]
    rows = [finding.to_dict() for finding in findings]
    spans = [span for own in given for span in own] + [s for f in findings for s in f.suggested]
    kinds = {span.type for span in spans}
    return templates.html(
        "audit.html.jinja",
        mark=MARK,
        apply=command_line("audit", *APPLY),
        name=name,
        items=items,
        total=total if total != len(items) else None,
        rows=rows,
        kinds=[kind for kind in KINDS if any(f.kind == kind for f in findings)],
        types=sorted(map(shown, kinds)),
        colours=page_colours(map(shown, kinds)),
    )


def _item(finding: Finding, given: Sequence[Span]) -> dict[str, object]:
    """Return what the page shows of a finding.

    Keys: words w, annotated a and suggested f entities, kind k, score s, reason r, place p.
    """
    after = corrected(given, finding)

    def drawn(spans: Sequence[Span], doubted: Sequence[Span]) -> list[list[object]]:
        return [[s.start, s.end, shown(s.type), None, s not in doubted] for s in spans]

    return {
        "w": [shown(word) for word in finding.words],
        "a": drawn(given, finding.given),
        "f": drawn(after, finding.suggested),
        "k": finding.kind,
        "s": round(finding.score, 3),
        "r": shown(finding.reason),
        "p": f"{shown(finding.source)}, sentence {finding.sentence:,}",
    }
