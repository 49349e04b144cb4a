"""Which part of the model an instruction belongs to: its Python call stack says it."""

from __future__ import annotations

import re

# function on the call stack -> part of the model; the innermost that is named here wins.
PARTS = {
    "dropout": "dropout",
    "Attention.__call__": "attention",
    "LayerNorm.__call__": "layer norm",
    "Layer.__call__": "feed-forward",
    "Embeddings.__call__": "embeddings",
    "Softmax.loss": "loss",
    "TokenClassifier._scan": "stacking of layers",
    "TokenClassifier.__call__": "head",
    "chain.<locals>.update_fn": "optimizer",
    "apply_updates": "optimizer",
}


def parts_of_frames(text: str) -> dict[int, str]:
    """stack frame -> part of the model, from the tables at the head of the text."""
    tables: dict[str, list[tuple[int, str]]] = {}
    current: list[tuple[int, str]] = []
    for line in text.splitlines():
        if line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
            current = tables.setdefault(line, [])
        elif match := re.match(r"(\d+) (.*)", line):
            current.append((int(match[1]), match[2]))
        elif line.startswith(("%", "ENTRY")):
            break
    names = {number: name.strip('"') for number, name in tables.get("FunctionNames", [])}
    locations = {
        number: names.get(int(match[1]), "")
        for number, fields in tables.get("FileLocations", [])
        if (match := re.search(r"function_name_id=(\d+)", fields))
    }
    frames = {
        number: (int(match[1]), int(match[2] or 1) - 1)  # a parent is printed one too high
        for number, fields in tables.get("StackFrames", [])
        if (match := re.search(r"file_location_id=(\d+)(?: parent_frame_id=(\d+))?", fields))
    }
    out: dict[int, str] = {}
    for number in frames:
        frame, seen = number, 0
        while frame in frames and seen < 200:
            location, parent = frames[frame]
            if (part := PARTS.get(locations.get(location, ""))) is not None:
                out[number] = part
                break
            frame, seen = parent, seen + 1
    return out


def refined(part: str, rest: str) -> str:
    """Attention's softmax and the feed-forward's activation by the operation's name."""
    operation = re.search(r'op_name="[^"]*?([\w-]+)"', rest)
    name = operation[1] if operation else ""
    if part == "attention" and name in ("reduce_max", "exp", "div", "sub", "reduce_sum", "max"):
        return "softmax"
    if part == "feed-forward" and name in ("erf", "erfc", "tanh", "exp", "mul", "integer_pow"):
        return "activation"
    return part
