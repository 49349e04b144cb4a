"""Other people's files beside and inside the folders that flaxner writes."""

import contextlib
import hashlib
import os
import subprocess

OTHERS = {
    "thesis.tex": "\\documentclass{article}",
    "src/main.py": "print('mine')\n",
    "data/train.npz": "no archive at all",
    "notes/2024/ideas.md": "# ideas\n",
    ".env": "SECRET=1\n",
    "12/values.txt": "a folder whose name is a number\n",
    "model.old/weights.bin": "\0\1\2",
}


def plant(folder, names=None):
    """Put someone else's files into a folder; return their paths."""
    paths = []
    for name in OTHERS if names is None else names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OTHERS.get(name, f"mine: {name}\n"))
        paths.append(path)
    return paths


def digests(paths):
    """Return path -> a digest of its content, or the target of a link."""
    found = {}
    for path in paths:
        if path.is_symlink():
            found[path] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def all_files(folder):
    """Return every file and link below a folder."""
    return [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]


def tree(folder):
    """Return the digests of everything below a folder."""
    return digests(all_files(folder))


@contextlib.contextmanager
def unchanged(*paths):
    """Assert that files, and all files below folders, do not change."""
    files = [f for path in paths for f in (all_files(path) if path.is_dir() else [path])]
    before = digests(files)
    assert len(before) == len(files)
    yield
    after = digests(files)
    lost = [str(path) for path in files if path not in after]
    changed = [str(path) for path in after if after[path] != before[path]]
    assert not lost, f"lost: {lost}"
    assert not changed, f"changed: {changed}"


@contextlib.contextmanager
def nothing_lost(*folders):
    """Assert that the content of every file in a folder is still somewhere in it."""
    before = [(folder, tree(folder)) for folder in folders]
    yield
    for folder, files in before:
        kept = set(tree(folder).values())
        lost = [str(path) for path, digest in files.items() if digest not in kept]
        assert not lost, f"lost: {lost}"


def git(folder, *arguments):
    """Run git in a folder, with a made-up identity."""
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def commit_all(folder):
    """Make a folder a git repository with everything committed."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "as it was")
