"""Registration beside elastix, ANTs and greedy: errors, CPU seconds and peak memory on pairs with a known map.

``python -m benchmarks.registration [--seeds N] [--python PATH]``; PATH runs the peers (extra ``bench``). All get the
same two scans, the peers with table and air taken away; CPU is that of the process without its imports, ours without
the finding of anatomy. Needs ``../shared/data``; says so where it is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from benchmarks import pairs
from monitor import anatomy, grid, lesions, registration
from monitor.types import Scan

ANATOMIES = ("043", "hip")
"""A real thigh and a real trunk."""

PEERS = {"elastix": "itk", "ants": "ants", "greedy": "picsl_greedy"}
"""The methods of ``peers.py`` and the module that each needs."""


def main() -> None:
    """Print a row a method and pair, then means."""
    if len(sys.argv) == 4 and sys.argv[1] == "--ours":
        _ours(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--python", default=sys.executable)
    said = parser.parse_args()
    if not pairs.DATA.exists():
        print("limb-ct and hip-ct are not here: the table needs ../shared/data")
        return
    there = [name for name, module in PEERS.items() if _imports(said.python, module)[0] == 0]
    print("peers:", ", ".join(there) or "none installed")
    rows = []
    for name in ANATOMIES:
        still = pairs.limb(name) if name.isdigit() else pairs.hip()
        for seed in range(said.first, said.first + said.seeds):
            for row in _pair_rows(_pair(name, still, seed), there, said.python):
                rows.append(row)
                print(" ".join(f"{v:8.3f}" if isinstance(v, float) else f"{v:>8}" for v in row.values()), flush=True)
    table = pd.DataFrame(rows)
    print(table.groupby(["anatomy", "method"]).mean(numeric_only=True).round(3).to_string())


def _pair(name: str, still: Scan, seed: int) -> pairs.Pair:
    """Draw growth up to 15 %, a warp up to 6 mm, with rigid bones up to 4 mm, and other slices."""
    rng = np.random.default_rng(seed)
    found = anatomy.find(still)
    rigid = seed % 2 == 0
    truth = pairs.motion(
        still,
        seed,
        bones=found.skeleton if rigid else None,
        growth=rng.uniform(1.0, 1.15),
        warp_mm=rng.uniform(2.0, 4.0 if rigid else 6.0),
    )
    return pairs.pair(name, still, truth, seed, found=found, slices=rng.uniform(0.8, 1.5))


def _pair_rows(pair: pairs.Pair, there: list[str], python: str) -> list[dict[str, object]]:
    points = np.concatenate([pair.body_mm, pair.bone_mm])
    truth = pair.truth.from_baseline(points)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, one in (("fixed", pair.fixed), ("moving", pair.moving)):
            sitk.WriteImage(one.image, str(folder / f"raw_{name}.nii.gz"))
            clean = np.where(anatomy.find_body(one), np.clip(one.array, -500, 1000), -500).astype(np.float32)
            sitk.WriteImage(grid.image_like(clean, one.image), str(folder / f"{name}.nii.gz"))
        np.save(folder / "points.npy", points)
        files = [str(folder / f) for f in ("fixed.nii.gz", "moving.nii.gz", "points.npy", "out.npy")]
        calls = {"ours": [sys.executable, "-m", "benchmarks.registration", "--ours", scratch, files[3]]}
        calls |= {peer: [python, str(Path(__file__).with_name("peers.py")), peer, *files] for peer in there}
        for method, call in calls.items():
            code, seconds, wall, gib = _timed(call)
            row: dict[str, object] = {"anatomy": pair.name, "method": method}
            if code:
                rows.append(row | {"body": np.nan})
                continue
            error = np.linalg.norm(np.load(folder / "out.npy") - truth, axis=1)
            body, bone = error[: len(pair.body_mm)], error[len(pair.body_mm) :]
            if method == "ours":
                own = json.loads((folder / "cpu.json").read_text())
                seconds = own["cpu"]
            else:
                seconds -= _imports(python, PEERS[method])[1]
            row |= {"body": body.mean(), "body95": np.percentile(body, 95), "bone": bone.mean()}
            row |= {"bone95": np.percentile(bone, 95), "cpu_s": seconds, "wall_s": wall, "gib": gib}
            rows.append(row)
    return rows


def _ours(folder: Path, out: Path) -> None:
    """Register the two scans of a folder, and carry its points; CPU is of the registration alone."""
    scans = [Scan(sitk.ReadImage(str(folder / f"raw_{name}.nii.gz"))) for name in ("fixed", "moving")]
    looked = [anatomy.find(one) for one in scans]
    mineral = [lesions.find(one, found).labels > 0 for one, found in zip(scans, looked, strict=True)]
    started = time.process_time()
    found = registration.register(
        *scans,
        fixed_anatomy=looked[0],
        moving_anatomy=looked[1],
        fixed_mineral=mineral[0],
        moving_mineral=mineral[1],
    )
    carried = found.from_baseline(np.load(folder / "points.npy"))
    (folder / "cpu.json").write_text(json.dumps({"cpu": time.process_time() - started}))
    np.save(out, carried)


def _imports(python: str, module: str) -> tuple[int, float]:
    """Return the exit code and CPU seconds of a bare import."""
    code, seconds, _, _ = _timed([python, "-c", f"import {module}"])
    return code, seconds


def _timed(call: list[str]) -> tuple[int, float, float, float]:
    """Run a program; return its exit code, CPU seconds, wall seconds and peak memory, GiB."""
    started = time.perf_counter()
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    return process.returncode, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
