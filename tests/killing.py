"""Kill a run at random moments, again and again, and look at what it leaves: for tests/test_robust.py.

A process of its own: it loads the package once and forks each run, so that thirty kills take a minute.
"""

from __future__ import annotations

import contextlib
import json
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
they are killed, however much faster or slower the machine is at that moment than when a run was timed."""


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


def killed_after(seconds: float, study: Path, results: Path) -> bool:
    """Start a run and kill it with all it started; tell whether it was still running."""
    child = os.fork()
    if child == 0:
        os.setsid()
        pipeline.follow(study, results)
        os._exit(0)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def timed(study: Path, results: Path) -> float:
    """Return the seconds of a run that is let be."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        pipeline.follow(study, results)
        os._exit(0)
    os.waitpid(child, 0)
    return time.monotonic() - started


def main(study: Path, folder: Path, kills: int) -> dict[str, int]:
    """Kill ``kills`` runs; return how many were hit, how many left results, and how many left anything wrong."""
    chance = random.Random(20)
    pipeline.follow(study, folder / "clean")
    lengths = {fresh: timed(study, folder / "timed") for fresh in (True, False)}
    results = folder / "results"
    truth = published(folder / "clean")
    counted = {"hit": 0, "published": 0, "wrong": 0}
    for _ in range(kills):
        if chance.random() < 0.5:
            shutil.rmtree(results, ignore_errors=True)
        fresh = not (results / "run.json").exists()
        counted["hit"] += killed_after(chance.random() * BEYOND * lengths[fresh], study, results)
        left = published(results)
        counted["published"] += bool(left)
        counted["wrong"] += bool(left) and left != truth
    pipeline.follow(study, results)
    counted["wrong"] += published(results) != truth
    return counted


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
