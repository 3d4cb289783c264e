"""Files that appear whole or not at all: written aside first, then given their names."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

ASIDE = ".calcitrack-"
"""Begins the name of the folder that is written to first."""


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """Give a folder to write to; what was written there then replaces files of the same names in ``folder``.

    The folder aside lies within ``folder``, not beside it: what may be written to may stand where nothing else
    may be, and a file is renamed within one disk only. Other files there stay as they are.

    Raises
    ------
    StoreError
        If it cannot be written; then no file has changed, and a folder that was not there is not there.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder))
        try:
            yield aside
            written = sorted(aside.iterdir())
            for path in written:
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
                if (folder / path.name).is_dir():
                    raise StoreError(f"{folder / path.name} must be a file to be replaced; it is a folder")
            for path in written:
                path.replace(folder / path.name)
            made = []
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{folder} must be a folder that can be written to; the disk says: {error.strerror}") from None
    finally:
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
