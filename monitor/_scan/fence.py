"""Ask the keeper to read a file: its crash, its hunger or its endless loop is a refused file, never our end."""

from __future__ import annotations

import atexit
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monitor.errors import ScanError

LEAST_SECONDS = 60.0
"""Time that reading may take whatever the size, s."""

SLOWEST_BYTES_PER_SECOND = 1e6
"""A disk or network share that is slower than this is not waited for."""


class Fence:
    """A keeper process and the way to it; started with the first question, in a fork anew."""

    def __init__(self, program: str = "monitor._scan.keeper") -> None:
        self.program = program
        self.lock = threading.Lock()
        self.owner = 0
        self.keeper: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None

    def ask(self, task: str, *, size: int = 0, **request: object) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Have a task of ``monitor._scan.keeper`` done.

        Parameters
        ----------
        task : str
            One of its ``TASKS``.
        size : int
            Bytes to read: the time limit grows with them.
        request : dict
            What the task needs, as JSON holds it.

        Returns
        -------
        (dict, list of array)
            What the task says, and the arrays it left, as views of shared memory.

        Raises
        ------
        ScanError
            If the file is refused, or reading it ended the child.
        """
        seconds = LEAST_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        with self.lock, _memory() as said, _memory() as room:
            os.pwrite(said, json.dumps({"task": task, "seconds": seconds, **request}).encode(), 0)
            _require_ended_well(self._done(said, room), said, seconds)
            answer = json.loads(os.pread(said, os.fstat(said).st_size, 0))
            if "refused" in answer:
                raise ScanError(*answer["refused"])
            return answer, _arrays(room, answer.get("arrays") or [])

    def close(self) -> None:
        """End the keeper."""
        if self.channel is not None:
            self.channel.close()
        if self.keeper is not None and self.owner == os.getpid():
            self.keeper.wait()
        self.keeper = self.channel = None

    def _done(self, said: int, room: int) -> int | None:
        """Hand a request over and return how the child ended; None where the keeper itself did."""
        channel = self._open()
        try:
            socket.send_fds(channel, [b"?"], [said, room])
            told = channel.recv(4)
        except OSError:
            told = b""
        if len(told) < 4:
            self.close()
            return None
        return int(struct.unpack("i", told)[0])

    def _open(self) -> socket.socket:
        if self.channel is not None and self.owner == os.getpid():
            return self.channel
        if self.channel is not None:  # inherited by a fork: the parent's keeper is not ours
            self.channel.close()
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.keeper = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", self.program, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                # What C libraries print may hold values of headers.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.owner = os.getpid()
        atexit.register(self.close)
        return self.channel


_FENCE = Fence()

ask = _FENCE.ask
"""Ask the keeper of this process: see ``Fence.ask``."""


def _environment() -> dict[str, str]:
    """Return the environment of the keeper: it finds what we find, and has one thread, so that it can fork."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = [path or str(Path.cwd()) for path in sys.path]
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


@contextmanager
def _memory() -> Iterator[int]:
    """Open memory that can be handed to another process, as a file without a name."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("calcitrack")
        try:
            yield handle
        finally:
            os.close(handle)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()


def _require_ended_well(status: int | None, said: int, seconds: float) -> None:
    """Refuse a file on which the child did not end by itself."""
    if status == 0:
        return
    rule = f"a scan must be readable within {seconds:.0f} s and the memory of its size"
    if status is None:
        raise ScanError("reader-ended", f"{rule}; the reading process ended")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGALRM:
            raise ScanError("too-slow", f"{rule}; it took longer")
        raise ScanError("reader-ended", f"{rule}; the system ended it by signal {number}")
    told = os.pread(said, os.fstat(said).st_size, 0)
    where = json.loads(told).get("fault", "a place unknown") if told else "a place unknown"
    raise ScanError("reader-ended", f"{rule}; the reader failed: {where}")


def _arrays(room: int, said: list[dict[str, Any]]) -> list[np.ndarray]:
    """Return views of the arrays that the child left."""
    found = []
    for one in said:
        count = int(np.prod(one["shape"]))
        length = count * np.dtype(one["dtype"]).itemsize
        # All pages are there: mapping them in one go is faster than one by one as they are read.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        held = mmap.mmap(room, length, flags=flags, offset=one["start"], prot=mmap.PROT_READ)
        found.append(np.frombuffer(held, one["dtype"], count).reshape(one["shape"]))
    return found
