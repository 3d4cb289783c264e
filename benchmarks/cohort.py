"""The dashboard on a large cohort: make a made-up results folder, and measure the pages on it in a browser.

``python -m benchmarks.cohort make FOLDER --patients 1000`` and ``python -m benchmarks.cohort measure FOLDER``.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks import browsing
from benchmarks.made_cohort import Plan, made
from monitor import store

LARGE = 2_000
"""Patients from which on a made-up cohort has fewer lesions and places unless it is told how many."""

LESIONS, LESIONS_LARGE = 50, 10
PLACES, PLACES_LARGE = 3, 2
"""Lesions of a patient, and compartments that hold them."""

PICTURED, PICTURED_LESIONS = 3, 6
"""Patients, from the first, whose lesions have pictures, and how many of their lesions."""

PICTURE_SIZES = {"lesion": (720, 300), "frame": (720, 240)}
"""Kinds of picture and their size, pixels: width, height."""


def main() -> None:
    """Make a folder, or measure one."""
    parser = argparse.ArgumentParser("python -m benchmarks.cohort", description="The dashboard on a large cohort.")
    parts = parser.add_subparsers(dest="part", required=True)
    make = parts.add_parser("make", help="make a results folder")
    make.add_argument("folder", type=Path)
    make.add_argument("--patients", type=int, default=1000)
    make.add_argument("--visits", type=int, default=8)
    make.add_argument("--lesions", type=int, help=f"default {LESIONS}, beyond {LARGE} patients {LESIONS_LARGE}")
    make.add_argument("--seed", type=int, default=1)
    measure = parts.add_parser("measure", help="measure the pages on a results folder")
    measure.add_argument("folder", type=Path)
    given = parser.parse_args()
    console = Console()
    if given.part == "measure":
        browsing.measure(given.folder, console)
        return
    plan = planned(given.patients, given.visits, given.lesions, given.seed)
    if given.lesions is None and plan.patients > LARGE:
        console.print(f"{plan.lesions} lesions a patient in {plan.places} compartments; --lesions takes more")
    start = time.perf_counter()
    make_folder(given.folder, plan, lambda number: console.print(f"{number} of {plan.patients} patients", end="\r"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    console.print(f"{plan.patients} patients in {time.perf_counter() - start:.0f} s, at most {peak:.1f} GiB")


def planned(patients: int, visits: int = 8, lesions: int | None = None, seed: int = 1) -> Plan:
    """Return how large a cohort is, with fewer lesions where it is large and no number is given.

    >>> planned(10_000).lesions, planned(10_000, lesions=20).lesions, planned(1000).lesions
    (10, 20, 50)
    """
    large = patients > LARGE
    few = LESIONS_LARGE if large else LESIONS
    return Plan(patients, visits, few if lesions is None else lesions, seed, PLACES_LARGE if large else PLACES)


def make_folder(folder: Path, plan: Plan, tell: Callable[[int], None] | None = None) -> Path:
    """Publish a made-up cohort to a folder, as a run would."""
    run = {
        "software": {"name": "calcitrack", "version": "0.1.0"},
        "made_up": {"patients": plan.patients, "visits": plan.visits, "lesions": plan.lesions, "seed": plan.seed},
        "patients": plan.patients,
        "ended": "2026-11-29T08:00:00+00:00",
        "use": "made up, for timing alone",
    }
    with tempfile.TemporaryDirectory() as aside, store.locked(folder) as root:
        store.publish(root, made(plan, tell), _pictures(plan, Path(aside)), run)
    return folder


def _pictures(plan: Plan, aside: Path) -> dict[str, Path]:
    """Draw the pictures of the first patients' first lesions at all visits, each with its own words."""
    files = {}
    for patient in plan.ids[:PICTURED]:
        for visit in plan.visit_ids:
            for lesion in range(1, min(PICTURED_LESIONS, plan.lesions) + 1):
                for kind, size in PICTURE_SIZES.items():
                    name = f"{patient}/{visit}/{kind}_{lesion:04d}.png"
                    path = aside / name.replace("/", "-")
                    _picture(f"{visit} lesion {lesion}", size).save(path)
                    files[name] = path
    return files


def _picture(words: str, size: tuple[int, int]) -> Image.Image:
    """Return grey noise with a bright disc and some words: it packs as badly as a CT does."""
    width, height = size
    rng = np.random.default_rng(len(words))
    image = Image.fromarray(rng.normal(110, 12, (height, width)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 2 - 20, height // 2 - 20, width // 2 + 20, height // 2 + 20), fill=240)
    draw.text((8, 8), words, fill=255)
    return image


if __name__ == "__main__":
    main()
