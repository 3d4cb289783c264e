"""Registration beside elastix, ANTs and greedy on the same pairs, and alone on large scans: errors, CPU, memory.

All get the same two scans, the peers with table and air taken away. Each runs in a process of its own on both cores,
one after the other; ours is given body, bone and mineral as the pipeline's first pass finds them. CPU seconds are those
of the process without its imports; memory is the peak of the process with all that it loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk

from benchmarks import ours, pairs
from benchmarks.pairs import Pair
from monitor import anatomy, grid, lesions
from monitor.types import Scan

ANATOMIES = ("043", "hip")
"""A real thigh and a real trunk."""

FIRST_SEED = 100

PEERS = {"elastix": "itk", "ants": "ants", "greedy": "picsl_greedy"}
"""The methods of ``peers.py`` and the module that each needs."""

SIZE = (512, 512, 400)
"""Voxels of a large scan, x, y, z."""


def rows(seeds: int, python: str) -> Iterator[dict[str, object]]:
    """Yield a row a method and pair."""
    there = [name for name, module in PEERS.items() if _imports(python, module)[0] == 0]
    if missing := sorted(set(PEERS) - set(there)):
        print("not installed:", ", ".join(missing))
    for name in ANATOMIES:
        still = pairs.real(name)
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            for row in _pair_rows(pairs.drawn(name, still, seed), there, python):
                print(" ".join(f"{v:8.3f}" if isinstance(v, float) else f"{v:>8}" for v in row.values()), flush=True)
                yield {"seed": seed, **row}


def summary(table: pd.DataFrame) -> str:
    """Return the means, and ours as a share of the best peer's in the body and on bone."""
    means = table.groupby(["anatomy", "method"]).mean(numeric_only=True).drop(columns="seed")
    lines = [means.round(3).to_string()]
    for anatomy_, part in means.groupby(level="anatomy"):
        own, peers = part.loc[(anatomy_, "ours")], part.drop((anatomy_, "ours"))
        for where in ("body", "bone"):
            if len(peers):
                best = peers.loc[peers[where].idxmin()]
                shares = ", ".join(f"{name} {own[name] / best[name]:.2f}" for name in (where, "cpu_s", "gib"))
                lines.append(f"{anatomy_}, nearest {where}: {best.name[1]}; ours over it: {shares}")
    return "\n".join(lines)


def size_rows() -> Iterator[dict[str, object]]:
    """Yield a row of each of two large pairs: a trunk and a thigh on fine lattices."""
    for name in ("hip", "043"):
        still = pairs.real(name)
        made = pairs.drawn(name, _enlarged(still), 7)
        yield next(_pair_rows(made, [], sys.executable))


def size_summary(table: pd.DataFrame) -> str:
    """Return the largest figures."""
    worst = table[["wall_s", "gib"]].max()
    return f"at most {worst['wall_s']:.0f} s (90 asked) and {worst['gib']:.2f} GiB (3 asked)"


def _enlarged(still: Scan) -> Scan:
    """Put a scan on a lattice of ``SIZE`` over the same field."""
    image = sitk.Image(SIZE, sitk.sitkInt16)
    extent = np.array(still.image.GetSize()) * still.image.GetSpacing()
    spacing = extent / SIZE
    image.SetSpacing(spacing.tolist())
    image.SetDirection(still.image.GetDirection())
    shift = (spacing - still.image.GetSpacing()) / 2
    image.SetOrigin((np.array(still.image.GetOrigin()) + shift).tolist())
    return Scan(sitk.Resample(still.image, image, sitk.Transform(), sitk.sitkLinear, pairs.AIR_HU))


def _pair_rows(pair: Pair, there: list[str], python: str) -> Iterator[dict[str, object]]:
    points = np.concatenate([pair.body_mm, pair.bone_mm])
    truth = pair.truth.from_baseline(points)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, one in (("fixed", pair.fixed), ("moving", pair.moving)):
            found = anatomy.find(one)
            # Large pairs hold no lesions, and are there for the time of registration, not of finding.
            mineral = lesions.find(one, found).labels > 0 if there else np.zeros(found.body.shape, bool)
            raw = str(folder / f"raw_{name}.nii")
            sitk.WriteImage(one.image, raw)
            ours.write_masks(raw, found.body, found.skeleton, mineral)
            if there:
                clean = np.where(found.body, np.clip(one.array, -500, 1000), -500).astype(np.float32)
                sitk.WriteImage(grid.image_like(clean, one.image), str(folder / f"{name}.nii.gz"))
        np.save(folder / "points.npy", points)
        raw, clean_files = (
            [str(folder / name) for name in (*images, "points.npy", "out.npy")]
            for images in (("raw_fixed.nii", "raw_moving.nii"), ("fixed.nii.gz", "moving.nii.gz"))
        )
        calls = {"ours": [sys.executable, "-m", "benchmarks.ours", *raw]}
        calls |= {peer: [python, str(Path(__file__).with_name("peers.py")), peer, *clean_files] for peer in there}
        for method, call in calls.items():
            row: dict[str, object] = {"anatomy": pair.name, "method": method}
            code, said, seconds, wall = _timed(call)
            if code:
                yield row | {"body": np.nan}
                continue
            error = np.linalg.norm(np.load(folder / "out.npy") - truth, axis=1)
            gib = float((folder / "out.npy.kib").read_text()) / 2**20
            body, bone = error[: len(pair.body_mm)], error[len(pair.body_mm) :]
            seconds = float(said) if method == "ours" else seconds - _imports(python, PEERS[method])[1]
            row |= {"body": body.mean(), "body95": np.percentile(body, 95), "bone": bone.mean()}
            yield row | {"bone95": np.percentile(bone, 95), "cpu_s": seconds, "wall_s": wall, "gib": gib}


def _imports(python: str, module: str) -> tuple[int, float]:
    """Return the exit code and CPU seconds of a bare import."""
    code, _, seconds, _ = _timed([python, "-c", f"import {module}"])
    return code, seconds


def _timed(call: list[str]) -> tuple[int, str, float, float]:
    """Run a program; return its exit code, its output, CPU seconds and wall seconds."""
    started = time.perf_counter()
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    return process.returncode, said, usage.ru_utime + usage.ru_stime, wall
