"""What happens to a results folder when the machine fails: killed, full, read-only, two at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import pipeline, store
from monitor.phantom import PhantomVisit
from tests.conftest import write_visits
from tests.killing import published

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

KILLS = 30
"""Random moments at which a run is killed."""


@pytest.fixture(scope="module")
def small(limb_visits: list[PhantomVisit], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study of two patients of one visit: the shortest run that does every stage but registration."""
    return write_visits(tmp_path_factory.mktemp("small"), limb_visits[:1])


def test_thirty_kills_leave_nothing_wrong(small, tmp_path):
    """Whenever a run is killed, what is published is whole or absent, and the next run completes to the same bytes."""
    command = [sys.executable, "-m", "tests.killing", str(small), str(tmp_path), str(KILLS)]
    done = subprocess.run(  # our own module, no shell
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    counted = json.loads(done.stdout)
    assert counted["wrong"] == 0
    assert counted["hit"] >= KILLS // 3
    assert 0 < counted["published"] < KILLS


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of a few hundred kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root; tests/test_store.py simulates a disk that is full")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def test_a_full_disk_publishes_nothing_and_loses_nothing(small, tiny_disk, tmp_path):
    """The run ends with a message, no half file stands under a final name, and with room it goes on from there."""
    results = tiny_disk / "results"
    with pytest.raises(store.StoreError, match=r"No space left|disk"):
        pipeline.follow(small, results)
    assert published(results) == {}
    assert not list(results.glob("run.json"))
    subprocess.run(["mount", "-o", "remount,size=50m", str(tiny_disk)], check=True, capture_output=True)
    pipeline.follow(small, results)
    pipeline.follow(small, tmp_path / "clean")
    assert published(results) == published(tmp_path / "clean")


def test_a_disk_that_fills_up_keeps_the_results_before(small, limb_visits, tiny_disk):
    """Older results stay readable when there is no room for new ones."""
    subprocess.run(["mount", "-o", "remount,size=50m", str(tiny_disk)], check=True, capture_output=True)
    results = tiny_disk / "results"
    pipeline.follow(small, results)
    before = published(results)
    full = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
    more = write_visits(small.parent / "more", limb_visits[:2])
    subprocess.run(["mount", "-o", f"remount,size={full + 200_000}", str(tiny_disk)], check=True, capture_output=True)
    with pytest.raises(store.StoreError, match=r"No space left|disk"):
        pipeline.follow(more, results)
    assert published(results) == before


def test_a_read_only_folder_is_told(small, tmp_path):
    """Where nothing may be written, the run says so, and the results there stay readable."""
    results = tmp_path / "mount" / "results"
    pipeline.follow(small, results)
    before = published(results)
    folder = str(results.parent)
    bind = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False)
    if os.geteuid() != 0 or bind.returncode:
        pytest.skip("a folder that is read-only for root needs a mount; tests/test_store.py simulates one")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True, capture_output=True)
        with pytest.raises(store.StoreError, match="must be writable"):
            pipeline.follow(small, results)
        assert published(results) == before
    finally:
        subprocess.run(["umount", folder], check=True, capture_output=True)


def test_two_runs_at_once(small, tmp_path):
    """One runs, the other is told; what is published is that of one run alone."""
    results = tmp_path / "results"
    code = "import sys; from monitor import pipeline; pipeline.follow(sys.argv[1], sys.argv[2])"
    command = [sys.executable, "-c", code, str(small), str(results)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended: list[subprocess.CompletedProcess[str]] = []

    def run() -> None:
        ended.append(subprocess.run(command, capture_output=True, text=True, check=False, env=env))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    failed = [one for one in ended if one.returncode]
    assert len(failed) < len(ended)
    assert all("one run may write to a results folder at a time" in one.stderr for one in failed)
    shutil.rmtree(tmp_path / "clean", ignore_errors=True)
    pipeline.follow(small, tmp_path / "clean")
    assert published(results) == published(tmp_path / "clean")
