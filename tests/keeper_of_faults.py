"""A keeper whose tasks end as broken files end decoders: for tests/test_fence.py."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import numpy as np

from monitor._scan import keeper


class UnheardOfError(Exception):
    """An error that no reader is known to raise."""


def dies(request: dict[str, Any], _: keeper.Room) -> dict[str, Any]:
    os.kill(os.getpid(), request["signal"])
    return {}


def takes(request: dict[str, Any], _: keeper.Room) -> dict[str, Any]:
    return {"length": len(bytearray(request["bytes"]))}


def loops(_: dict[str, Any], __: keeper.Room) -> dict[str, Any]:
    while True:
        pass


def fails(request: dict[str, Any], _: keeper.Room) -> dict[str, Any]:
    raise UnheardOfError(request["secret"])


def counts(request: dict[str, Any], room: keeper.Room) -> dict[str, Any]:
    first = room.array((request["count"],), np.float32)
    second = room.array((2, request["count"]), np.int16)
    first[:], second[:] = np.arange(request["count"]), np.arange(request["count"])
    return {"arrays": [second, first], "said": "two"}


def ends_the_keeper(_: dict[str, Any], __: keeper.Room) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGKILL)
    return {}


if __name__ == "__main__":
    keeper.TASKS.update(
        {"dies": dies, "takes": takes, "loops": loops, "fails": fails, "counts": counts, "ends": ends_the_keeper}
    )
    keeper.serve(socket.socket(fileno=int(sys.argv[1])))
