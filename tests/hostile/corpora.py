"""Corpora that an attacker, a broken disk or a mistake may produce."""

import bz2
import gzip
import io
import lzma
import zipfile

PLAIN = "Peter B-PER\nsees O\nBerlin B-LOC\n\n" * 20


def _zipped(text):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.conll", text)
    return held.getvalue()


def _through(codec, text):
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


def _repeated(piece, times):
    """Return a gzip of a repeated piece, without holding the content in memory."""
    held = io.BytesIO()
    with gzip.open(held, "wb", 1) as file:
        for _ in range(times):
            file.write(piece)
    return held.getvalue()


# name -> (file name, function that returns its content, part of the error or None: it is read).
CASES = {
    "plain": ("a.conll", lambda: PLAIN.encode(), None),
    "gzip": ("a.conll.gz", lambda: gzip.compress(PLAIN.encode()), None),
    "bzip2": ("a.conll.bz2", lambda: bz2.compress(PLAIN.encode()), None),
    "xz": ("a.conll.xz", lambda: lzma.compress(PLAIN.encode()), None),
    "zstd": ("a.conll.zst", lambda: _through("zstd", PLAIN), None),
    "lz4": ("a.conll.lz4", lambda: _through("lz4", PLAIN), None),
    "zip": ("a.zip", lambda: _zipped(PLAIN), "a zip archive"),
    "gzip cut": ("a.gz", lambda: gzip.compress(PLAIN.encode())[:40], "cannot read the corpus"),
    "bzip2 cut": ("a.bz2", lambda: bz2.compress(PLAIN.encode())[:40], "cannot read the corpus"),
    "xz damaged": ("a.xz", lambda: lzma.compress(PLAIN.encode())[:60] + b"\0" * 60, "cannot read"),
    "zstd cut": ("a.zst", lambda: _through("zstd", PLAIN)[:20], "a.zst"),
    "a word of a million letters": (
        "a.conll", lambda: ("a" * 10**6 + " B-PER\nb O\n\n").encode(), "at most 10,000 characters"),
    "a line beyond the limit": (
        "a.conll", lambda: b"a" * (3 << 20) + b" O\n\n", "a line must have at most"),
    "a sentence of 200,000 words": (
        "a.conll", lambda: ("w O\n" * 200_000 + "\n" + PLAIN).encode(), None),
    "20,000 types": (
        "a.conll", lambda: "".join(f"w B-T{i}\n\n" for i in range(20_000)).encode(),
        "more than 5,000 types"),
    "deep JSON": ("a.json", lambda: b"[" * 10**5 + b"]" * 10**5, "a.json"),
    "zero bytes": ("a.conll", lambda: b"\0" * 1000, "zero byte"),
    "UTF-16": ("a.conll", lambda: PLAIN.encode("utf-16"), "it is UTF-16"),
    "empty": ("a.conll", lambda: b"", "empty"),
    "acting words": (
        "a.conll",
        lambda: "\x1b[2JPeter B-[/red]\n\u202eevil O\n[red]x O\n\n".encode() * 20, None),
    "gzip of one long word": ("a.gz", lambda: _repeated(b"a" * 10**6, 100), "a line must have"),
    "gzip of comments": ("a.conll.gz", lambda: _repeated(b"# no\n" * 10**5, 80), "comments"),
}  # fmt: skip
# Larger files, for `python -m tests.hostile`.
LONG = {
    "gzip of 500 MB": ("a.gz", lambda: _repeated(b"a" * 10**6, 500), "a line must have"),
    "gzip of 1 GB of comments": (
        "a.conll.gz", lambda: _repeated(b"# a comment\n" * 10**5, 900), "comments"),
    "gzip of 1 GB of JSON spaces": ("a.json.gz", lambda: _repeated(b" " * 10**6, 1000), "a.json"),
    "a million types": (
        "a.conll", lambda: "".join(f"w B-T{i}\n\n" for i in range(10**6)).encode(), "5,000 types"),
}  # fmt: skip
