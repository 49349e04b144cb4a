"""A small corpus for end-to-end tests, built from a few names and sentence templates."""

import itertools

# Settings of a run on it that takes only seconds.
QUICK = {
    "model": "flaxner:tiny",
    "batch_size": 8,
    "max_length": 32,
    "learning_rate": 2e-3,
    "log_every": 1,
    "compilation_cache": "",
}
NAMES = {
    "PER": ["Angela Merkel", "Barack Obama", "Jordan", "Maria Silva", "Chen"],
    "LOC": ["Berlin", "New York", "Israel", "Mountain View", "Jordan"],
    "ORG": ["Google", "Chelsea", "United Nations", "Acme Corp"],
}
FRAMES = [
    ["PER", "met", "PER", "in", "LOC", "."],
    ["ORG", "opened", "an", "office", "in", "LOC", "."],
    ["He", "left", "ORG", "on", "Tuesday", "."],
    ["Nothing", "happened", "."],
]


def sentences(count, shift=0):
    """Return `count` sentences of (words, IOB2 tags), which use the names in turn."""
    turns = {
        kind: itertools.cycle(names[shift % 3 :] + names[: shift % 3])
        for kind, names in NAMES.items()
    }
    made = []
    for frame in itertools.islice(itertools.cycle(FRAMES), count):
        words, tags = [], []
        for item in frame:
            parts = next(turns[item]).split() if item in NAMES else [item]
            words += parts
            tags += [f"B-{item}", *[f"I-{item}"] * (len(parts) - 1)] if item in NAMES else ["O"]
        made.append((words, tags))
    return made


def write_conll(path, made):
    """Write sentences as `word tag` lines."""
    blocks = ("".join(f"{w} {t}\n" for w, t in zip(*pair, strict=True)) for pair in made)
    path.write_text("\n".join(blocks), "utf-8")
    return path


def quick_settings(folder):
    """Write three small splits to the folder; return the settings of a quick run on them."""
    files = {"train": sentences(24), "validation": sentences(12, 1), "test": sentences(12, 2)}
    return {
        **{f"{k}_file": str(write_conll(folder / f"{k}.conll", v)) for k, v in files.items()},
        **QUICK,
        "epochs": 2.0,
    }
