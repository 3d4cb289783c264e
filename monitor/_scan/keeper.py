"""The process that reads files: for each request a child with limits, so that no file can take us down.

Started by ``monitor._scan.fence``. It loads the readers once, holds nothing, and forks: a child costs milliseconds.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from monitor._scan import catalogue, image, series, strip
from monitor._scan.rules import attempt
from monitor.errors import ScanError

BASE_BYTES = 2 << 30
"""Address space that reading may take beside the voxels, bytes: libraries 0.5, one slice or header far less."""

MOST_BYTES = 10 << 30
"""Address space that no child may pass, whatever a header claims, bytes."""

READABLE = "a scan must be readable"

TASKS: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "series": series.task,
    "image": image.task,
    "person": catalogue.person,
    "catalogue": catalogue.files,
    "rules": series.rules,
    "strip": strip.task,
}
"""What can be asked; each takes the request and room for voxels, and returns what JSON can hold."""


class Room:
    """Memory that the asking process sees; arrays lie in it one after another, each on a page of its own."""

    def __init__(self, handle: int) -> None:
        self.handle, self.end = handle, 0
        self.starts: dict[int, int] = {}

    def array(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return room for an array, filled with zeros."""
        count = int(np.prod(shape))
        length = count * np.dtype(dtype).itemsize
        start, self.end = self.end, self.end + -(-length // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        _allow(BASE_BYTES + 2 * self.end)
        os.ftruncate(self.handle, self.end)
        values: np.ndarray = np.frombuffer(
            mmap.mmap(self.handle, self.end - start, offset=start), dtype, count
        ).reshape(shape)
        self.starts[values.ctypes.data] = start
        return values

    def where(self, values: np.ndarray) -> dict[str, object]:
        """Return what the asking process needs to find an array."""
        return {"shape": values.shape, "dtype": values.dtype.str, "start": self.starts[values.ctypes.data]}


def serve(channel: socket.socket) -> None:
    """Answer requests until the other side is gone."""
    while True:
        head, handles, _, _ = socket.recv_fds(channel, 1, 2)
        if not head:
            return
        child = os.fork()
        if child == 0:
            channel.close()
            _answer(*handles)
            os._exit(0)
        for handle in handles:
            os.close(handle)
        channel.sendall(struct.pack("i", os.waitpid(child, 0)[1]))


def _answer(said: int, room: int) -> None:
    """Read one request, do it within its limits, and leave the answer in its place."""
    sys.excepthook = partial(_fault, said)
    request = json.loads(os.pread(said, os.fstat(said).st_size, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (BASE_BYTES, MOST_BYTES))
    # The default action of the signal ends the process even where a decoder never returns to Python.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    space = Room(room)
    try:
        answer = attempt("broken-file", READABLE, lambda: TASKS[request["task"]](request, space))
        answer["arrays"] = [space.where(one) for one in answer.pop("arrays", [])]
    except ScanError as error:
        answer = {"refused": [error.code, str(error)]}
    _leave(said, answer)


def _allow(bytes_: int) -> None:
    """Raise the limit of memory for voxels that the header has been held to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if bytes_ > soft:
        resource.setrlimit(resource.RLIMIT_AS, (min(bytes_, hard), hard))


def _leave(said: int, answer: object) -> None:
    text = json.dumps(answer).encode()
    os.ftruncate(said, 0)
    os.pwrite(said, text, 0)


def _fault(said: int, kind: type[BaseException], _: BaseException, where: TracebackType | None) -> None:
    """Tell where the reader itself failed; neither the message nor a value, which may hold a name."""
    last = traceback.extract_tb(where)[-1]
    _leave(said, {"fault": f"{kind.__name__} in line {last.lineno} of {Path(last.filename).name}"})


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # readers' warnings print values of headers
    serve(socket.socket(fileno=int(sys.argv[1])))
