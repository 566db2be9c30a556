"""Opening folders below another one without following links.

A path that is opened as a whole may lead through a link that was created a moment ago. Here each part is opened
relative to the one above it, and a link is an error. Owns: that walk. Must not: create or delete files.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

_THROUGH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_folder(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a folder, to list it and to open its entries. Follows links in `path`."""
    return os.open(path, _READABLE)


def open_below(root: int, relative_dir: str, *, follow_symlinks: bool = False, create: bool = False) -> int:
    """Return a descriptor of a folder below another one. `relative_dir` has `/`; '' opens `root` itself again.

    `create` creates missing folders. Raises NotADirectoryError if a part is a link.
    """
    parts = relative_dir.split("/") if relative_dir else []
    nofollow = 0 if follow_symlinks else os.O_NOFOLLOW
    here = root
    try:
        for number, part in enumerate(parts, start=1):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            below = os.open(part, (_READABLE if number == len(parts) else _THROUGH) | nofollow, dir_fd=here)
            if here != root:
                os.close(here)
            here = below
        return os.open(".", _READABLE, dir_fd=root) if here == root else here
    except OSError as error:
        if here != root:
            os.close(here)
        if error.errno == errno.ELOOP and not follow_symlinks:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from None
        raise


@contextlib.contextmanager
def opened_below(root: int, relative_dir: str, *, create: bool = False) -> Iterator[int]:
    """Like `open_below`, closed at the end of the block."""
    descriptor = open_below(root, relative_dir, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
