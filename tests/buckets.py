"""A file system that renames no folders and exchanges no names, as in a mounted bucket."""

import errno
import os

from flaxner.files import atomic


def as_in_a_bucket(monkeypatch):
    """Make this process refuse what gcsfuse refuses in a bucket without folders of its own."""

    def refusing(rename):
        def renamed(one, other, **options):
            if os.path.isdir(one) and not os.path.islink(one):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(one))
            return rename(one, other, **options)

        return renamed

    def exchange(one, other):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(other))

    monkeypatch.setattr(os, "rename", refusing(os.rename))
    monkeypatch.setattr(os, "replace", refusing(os.replace))
    monkeypatch.setattr(atomic, "exchange", exchange)
