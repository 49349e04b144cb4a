"""Measure how many planted errors an audit finds: `python -m tests.audit_trial --help`.

Corrupts 5% of the entities of a corpus, cross-validates a flaxner model on it, and compares the
findings of the audit with two rankings of words: by cleanlab alone, and by the model's plain loss.
In these, neighbouring words count as one finding. The run stays in the output folder, so the same
command can compare the rankings again without training.
"""

import argparse
import itertools
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console

from flaxner import TrainConfig, read_corpus, train
from flaxner.audit.confident import doubted_words
from flaxner.audit.evidence import rank
from flaxner.audit.held_out import read_held_out
from flaxner.audit.second_opinion import second_opinion
from flaxner.data import embedded
from tests.conll import write_conll
from tests.planting import measure, plant


def sentences_of(corpus, limit):
    if corpus == "embedded":
        return list(itertools.islice(embedded.generate("train"), limit))
    read = read_corpus(Path(corpus))
    return [(s.words, s.tags) for s in read.sentences[:limit] if s.words]


def words_ranked(order):
    """Turn ranked (sentence, word) pairs into findings, skipping neighbours of earlier words."""
    seen, made = set(), []
    for sentence, word in order:
        if not {(sentence, word - 1), (sentence, word), (sentence, word + 1)} & seen:
            made.append((sentence + 1, word, word + 1))
        seen.add((sentence, word))
    return made


def by_loss(held, scheme):
    """Return every word, the one with the least probable label first."""
    places, probs = [], []
    for i, sentence in enumerate(held):
        labels = scheme.encode(sentence.tags)
        probs += sentence.probs[np.arange(len(labels)), labels].tolist()
        places += [(i, word) for word in range(len(labels))]
    return [places[at] for at in np.argsort(probs, kind="stable")]


def by_cleanlab(held, scheme):
    """Return the words that cleanlab doubts, in its order, then all others by their loss."""
    doubted = doubted_words(held, scheme)
    flagged = set(doubted)
    return words_ranked([*doubted, *(p for p in by_loss(held, scheme) if p not in flagged)])


def spanned(finding):
    spans = (*finding.given, *finding.suggested)
    return finding.sentence, min(s.start for s in spans), max(s.end for s in spans)


def trial(folder, planted):
    """Return the measures of each ranking."""
    held, scheme = read_held_out(folder)
    begin = time.perf_counter()
    second = second_opinion(held, scheme)
    doubted = set(doubted_words(second, scheme))
    findings = rank(second, scheme, doubted)
    seconds = time.perf_counter() - begin
    rankings = {
        "flaxner": [spanned(finding) for finding in findings],
        "without second opinion": [
            spanned(finding) for finding in rank(held, scheme, set(doubted_words(held, scheme)))
        ],
        "cleanlab of second opinion": by_cleanlab(second, scheme),
        "cleanlab": by_cleanlab(held, scheme),
        "loss": words_ranked(by_loss(held, scheme)),
    }
    rows = {name: measure(ranked, planted) for name, ranked in rankings.items()}
    found = Counter(kind for s, a, b, kind in planted
                    if any(x[0] == s and x[1] < b and a < x[2]
                           for x in rankings["flaxner"][: len(planted)]))  # fmt: skip
    return {"planted": len(planted), "suspicions": len(findings), **rows, "found": found,
            "seconds": round(seconds, 2)}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", help="embedded, or a corpus file")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--model", default="flaxner:tiny")
    parser.add_argument("--limit", type=int, default=None, help="maximum number of sentences")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--head-learning-rate", type=float, default=None)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    made, planted = plant(sentences_of(given.corpus, given.limit), given.share, given.seed)
    given.output_dir.mkdir(parents=True, exist_ok=True)
    file = write_conll(given.output_dir / "planted.conll", made)
    run = given.output_dir / "run"
    if not (run / "results.json").is_file():
        config = TrainConfig(
            model=given.model, train_file=str(file), output_dir=str(run), select="last",
            cross_validation=given.folds, epochs=given.epochs, max_length=given.max_length,
            learning_rate=given.learning_rate, head_learning_rate=given.head_learning_rate,
            keep=1, overwrite=run.exists(),
        )  # fmt: skip
        train(config, console=Console(stderr=True))
    about = {"corpus": given.corpus, "sentences": len(made), "model": given.model}
    print(json.dumps({**about, **trial(run, planted)}))


if __name__ == "__main__":
    main()
