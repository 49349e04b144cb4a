"""Wrong entities planted into a corpus, for an audit to find."""

import numpy as np

from flaxner.data.tags import Span, spans_to_tags, tags_to_spans

KINDS = ("dropped", "type", "border", "invented")


def plant(sentences, share, seed=0):
    """Corrupt a fraction of the entities in sentences of (words, tags), in each of KINDS in turn.

    Returns:
      the sentences, and (sentence from 1, first word, word after the last, kind) of each error.
    """
    rng = np.random.default_rng(seed)
    made = [(tuple(words), tags_to_spans(tags)) for words, tags in sentences]
    types = sorted({span.type for _, spans in made for span in spans})
    places = [(i, span) for i, (_, spans) in enumerate(made) for span in spans]
    count = round(share * len(places))
    planted, used = [], set()
    for at in rng.permutation(len(places)).tolist():
        if len(planted) == count:
            break
        i, span = places[at]
        if i in used:
            continue  # one per sentence, so that each is found on its own
        kind = KINDS[len(planted) % len(KINDS)]
        words, spans = made[i]
        region = _change(rng, kind, words, spans, span, types)
        if region is not None:
            used.add(i)
            planted.append((i + 1, *region, kind))
    return [(words, spans_to_tags(spans, len(words))) for words, spans in made], planted


def _change(rng, kind, words, spans, span, types):
    """Change one entity in place; return the words concerned, or None if impossible."""
    free = [w for w in range(len(words)) if not any(s.start <= w < s.end for s in spans)]
    if kind == "dropped":
        spans.remove(span)
        return span[:2]
    if kind == "type":
        others = [name for name in types if name != span.type]
        if not others:
            return None
        spans[spans.index(span)] = Span(*span[:2], str(rng.choice(others)))
        return span[:2]
    if kind == "border":
        moved = [
            Span(a, b, span.type)
            for a, b in (
                (span.start - 1, span.end),
                (span.start, span.end + 1),
                (span.start + 1, span.end),
                (span.start, span.end - 1),
            )
            if a < b and all(w in free or span.start <= w < span.end for w in range(a, b))
        ]
        if not moved:
            return None
        new = moved[int(rng.integers(len(moved)))]
        spans[spans.index(span)] = new
        return min(span.start, new.start), max(span.end, new.end)
    alone = [w for w in free if not any(w in (s.start - 1, s.end) for s in spans)]
    if not alone:
        return None
    word = int(rng.choice(alone))
    spans.append(Span(word, word + 1, str(rng.choice(types))))
    spans.sort()
    return word, word + 1


def measure(ranked, planted):
    """Return the precision at k, where k is the number planted, and the average precision.

    Args:
      ranked: (sentence from 1, first word, word after the last), the most likely error first.
      planted: as returned by `plant`.
    """
    by_sentence = {sentence: (start, end) for sentence, start, end, _ in planted}
    left, hits, precisions, first = set(by_sentence), 0, [], 0
    for rank, (sentence, start, end) in enumerate(ranked, 1):
        if sentence in left:
            a, b = by_sentence[sentence]
            if start < b and a < end:
                left.discard(sentence)
                hits += 1
                precisions.append(hits / rank)
        if rank == len(planted):
            first = hits
    first = first or hits if len(ranked) < len(planted) else first
    return {"precision": first / len(planted), "average": sum(precisions) / len(planted)}
