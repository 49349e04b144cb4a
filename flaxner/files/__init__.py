"""Atomic writing of files, and of folders in which nothing that is not ours is lost."""

from flaxner.files.atomic import make_folder, write_bytes, write_json, write_text
from flaxner.files.kinds import Kind, check_folder, check_writable, refuse_odd_path
from flaxner.files.owned import write_folder
from flaxner.files.reading import holds, read_json

__all__ = [
    "Kind",
    "check_folder",
    "check_writable",
    "holds",
    "make_folder",
    "read_json",
    "refuse_odd_path",
    "write_bytes",
    "write_folder",
    "write_json",
    "write_text",
]
