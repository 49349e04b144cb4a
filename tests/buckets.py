"""A file system that renames no folders, exchanges no names and has no links: a mounted bucket."""

import errno
import os

from flaxner.files import atomic


def as_in_a_bucket(monkeypatch):
    """Make this process refuse to rename folders, as gcsfuse does, and to link, as rclone does."""

    def refusing(rename):
        def renamed(one, other, **options):
            if os.path.isdir(one) and not os.path.islink(one):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(one))
            return rename(one, other, **options)

        return renamed

    def exchange(one, other):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(other))

    def symlink(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "symlink", symlink)
    monkeypatch.setattr(os, "rename", refusing(os.rename))
    monkeypatch.setattr(os, "replace", refusing(os.replace))
    monkeypatch.setattr(atomic, "exchange", exchange)
