"""Kill a run at random moments, again and again, and look at what it leaves: for tests/test_robust.py.

A process of its own: it loads the package once and forks each run, so that thirty kills take a minute.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from monitor import pipeline, store

BEYOND = 1.4
"""Moments are drawn up to this many times the length of a run, so that more than a quarter of the runs end before
they are killed. The length follows the machine: it is what the last run took that ended, and never less than what one
lived that was killed."""

POLL = 0.005
"""Seconds between two looks at whether a run has ended by itself."""


def published(results: Path) -> dict[str, bytes]:
    """Return the bytes of what is published, ``run.json`` aside, which holds times; nothing where nothing is."""
    try:
        store.read_results(results)
    except store.StoreError:
        return {}
    return {
        str(path.relative_to(results)): path.read_bytes()
        for part in ("tables", "images")
        for path in sorted((results / part).rglob("*"))
        if path.is_file()
    }


def killed_after(seconds: float, study: Path, results: Path) -> tuple[bool, float]:
    """Start a run and kill it with all it started; tell whether it was still running, and the seconds that it lived."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        pipeline.follow(study, results)
        os._exit(0)
    while time.monotonic() - started < seconds:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(POLL)
    lived = time.monotonic() - started
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1]), lived


def main(study: Path, folder: Path, kills: int) -> dict[str, int]:
    """Kill ``kills`` runs; return how many were hit, how many left results, and how many left anything wrong."""
    chance = random.Random(20)
    pipeline.follow(study, folder / "clean")
    lengths = {fresh: killed_after(math.inf, study, folder / "timed")[1] for fresh in (True, False)}
    results = folder / "results"
    truth = published(folder / "clean")
    counted = {"hit": 0, "published": 0, "wrong": 0}
    for _ in range(kills):
        if chance.random() < 0.5:
            shutil.rmtree(results, ignore_errors=True)
        fresh = not (results / "run.json").exists()
        hit, lived = killed_after(chance.random() * BEYOND * lengths[fresh], study, results)
        lengths[fresh] = max(lengths[fresh], lived) if hit else lived
        counted["hit"] += hit
        left = published(results)
        counted["published"] += bool(left)
        counted["wrong"] += bool(left) and left != truth
    pipeline.follow(study, results)
    counted["wrong"] += published(results) != truth
    return counted


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
