"""Writing files so that a reader never sees half of one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handkit.errors import HandkitError

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` with the same ending; moved to `path` when the block ends well.

    Parent folders are made. If the block raises, nothing is left behind and an older file at `path` stays as it was.
    Raises HandkitError where the folder cannot be written or the disk is full. A block that writes nothing makes
    no file.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise HandkitError(f"cannot write {path}: it is a folder", "give the name of a file")
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied")
        yield partial
        if partial.exists():
            os.replace(partial, path)
    except OSError as error:
        if error.errno in _FULL:
            raise HandkitError(
                f"cannot write {path}: the disk is full", "free some space, or write elsewhere"
            ) from error
        if error.errno in _UNWRITABLE:
            what = f"cannot write {path}: {(error.strerror or str(error)).lower()}"
            raise HandkitError(what, "choose an output folder that you may write to") from error
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make `folder` and raise HandkitError unless files can be written there; for a check before long work."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise HandkitError(f"cannot write into {folder}: it is a file", "give the name of a folder")
    probe = Path(folder) / "probe"
    with atomic_path(probe) as partial:
        partial.touch()
        partial.unlink()
