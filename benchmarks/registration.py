"""Registration against what it must show: ``python -m benchmarks.registration [SECTION ...] [--python PATH]``.

Without a section all run, one after the other (an hour and a half on two cores):

texture   real limbs pulled through known maps, and the visits of ``serial-limbs``
bend      knees that bend by up to 30 degrees
start     random axes from 10 to 180 degrees, and parts of wholes
lesion    lesions that appear, vanish and double
trust     100 good pairs and 60 of each way to break one: what is refused, and what the residual tells
real      two visits of a brain, and the lungs of two breaths
beside    the same pairs by elastix, ANTs and greedy: errors, CPU seconds, memory; PATH runs them (extra ``bench``)
size      512 x 512 x 400 voxels

Needs ``../shared/data``; says so where it is absent. Rows are kept as CSV where ``--out`` says.
"""

from __future__ import annotations

import argparse
import sys
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from benchmarks import accuracy, beside, pairs, real, trust
from monitor.errors import RegistrationError

SECTIONS = {
    "texture": (accuracy.texture_calls, accuracy.texture_summary),
    "bend": (accuracy.bend_calls, accuracy.bend_summary),
    "start": (accuracy.start_calls, accuracy.start_summary),
    "lesion": (accuracy.lesion_calls, accuracy.lesion_summary),
    "trust": (trust.trust_calls, trust.trust_summary),
    "real": (real.real_calls, real.real_summary),
}
"""Rows of a section, and what they come to."""


def main() -> None:
    """Print the rows of each section, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS, "beside", "size"], metavar="SECTION")
    parser.add_argument("--python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--seeds", type=int, default=5, help="pairs of each anatomy beside the peers")
    parser.add_argument("--out", type=Path, help="folder for the rows as CSV")
    said = parser.parse_args()
    if not pairs.DATA.exists():
        print("limb-ct and hip-ct are not here: the tables need ../shared/data")
        return
    for name in said.sections or [*SECTIONS, "beside", "size"]:
        print(f"\n== {name}", flush=True)
        if name in SECTIONS:
            calls, summary = SECTIONS[name]
            rows = _rows(list(calls()))
        elif name == "beside":
            rows, summary = pd.DataFrame(beside.rows(said.seeds, said.python)), beside.summary
        else:
            rows, summary = pd.DataFrame(beside.size_rows()), beside.size_summary
        print(rows.to_string(index=False, float_format=lambda value: f"{value:.3f}", max_colwidth=70))
        print(summary(rows), flush=True)
        if said.out:
            rows.to_csv(said.out / f"{name}.csv", index=False)


def _rows(calls: list[tuple]) -> pd.DataFrame:
    """Do the calls two at a time, in order."""
    with get_context("spawn").Pool(2) as pool:
        return pd.DataFrame(pool.imap(_called, calls, chunksize=1))


def _called(call: tuple) -> dict[str, object]:
    work, arguments = call
    try:
        return work(*arguments)
    except RegistrationError as error:
        return {"pair": " ".join(map(str, arguments)), "refused": str(error)}


if __name__ == "__main__":
    main()
