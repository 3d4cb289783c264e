"""The fence: whatever reading a file does to the reading process, we hear a refusal and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor._scan import fence
from monitor.errors import ScanError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def faults() -> Iterator[fence.Fence]:
    """Return a fence whose keeper knows how to fail."""
    made = fence.Fence("tests.keeper_of_faults")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("signal_number", "code"),
    [
        (signal.SIGSEGV, "reader-ended"),
        (signal.SIGABRT, "reader-ended"),
        (signal.SIGFPE, "reader-ended"),
        (signal.SIGKILL, "reader-ended"),
        (signal.SIGALRM, "too-slow"),
    ],
)
def test_a_signal_is_a_refused_file(faults, signal_number, code):
    """A decoder that crashes takes down its child alone: the next question is answered."""
    with pytest.raises(ScanError, match="must be readable within 60 s") as caught:
        faults.ask("dies", signal=int(signal_number))
    assert caught.value.code == code
    assert faults.ask("takes", bytes=10)[0]["length"] == 10


def test_memory_is_limited(faults):
    """A file that asks for more memory than any scan is refused, not swapped for."""
    with pytest.raises(ScanError, match="within the memory that decoding may use") as caught:
        faults.ask("takes", bytes=4 << 30)
    assert caught.value.code == "too-large"


def test_time_is_limited(faults, monkeypatch):
    """A decoder that never returns is ended."""
    monkeypatch.setattr(fence, "LEAST_SECONDS", 0.3)
    with pytest.raises(ScanError, match="it took longer") as caught:
        faults.ask("loops")
    assert caught.value.code == "too-slow"


def test_an_unknown_error_tells_its_place_and_no_value(faults):
    """What fails in an unforeseen way names type and line, never what the file said."""
    with pytest.raises(ScanError, match=r"UnheardOfError in line \d+ of keeper_of_faults.py") as caught:
        faults.ask("fails", secret="Miller^Anna")
    assert "Miller" not in str(caught.value)


def test_the_end_of_the_keeper_is_a_refused_file(faults):
    """Where the system ends the keeper itself, a new one answers the next question."""
    with pytest.raises(ScanError, match="the reading process ended"):
        faults.ask("ends")
    assert faults.ask("takes", bytes=10)[0]["length"] == 10


def test_arrays_come_back_as_they_were_left(faults):
    """Values, types and shapes cross in shared memory, in the order that the task says."""
    said, (second, first) = faults.ask("counts", count=5000)
    assert said["said"] == "two"
    assert (second.shape, second.dtype, first.dtype) == ((2, 5000), np.int16, np.float32)
    assert np.array_equal(first, np.arange(5000))
    assert np.array_equal(second[1], np.arange(5000))


def test_threads_ask_one_after_another(faults):
    """Each thread gets the answer to its own question."""
    answers: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.__setitem__(n, faults.ask("takes", bytes=n)[0]["length"]))
        for n in range(1, 9)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == {n: n for n in range(1, 9)}


def test_a_plain_script_may_read(tmp_path):
    """A script without a main guard reads a scan: nothing of it runs twice, and no keeper outlives it."""
    script = tmp_path / "plain.py"
    script.write_text(
        "import monitor\n"
        "from monitor._scan import fence\n"
        "try:\n"
        "    monitor.read('nothing-here')\n"
        "except monitor.ScanError as error:\n"
        "    print(error.code)\n"
        "print(fence.ask('person', path='.', key='00')[0])\n"
        "print(fence._FENCE.keeper.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=with_root(), check=True
    )
    code, said, pid = done.stdout.split("\n")[:3]
    assert (code, said, done.stderr) == ("no-file", "{'arrays': []}", "")
    assert not Path(f"/proc/{pid}").exists()


def with_root() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
