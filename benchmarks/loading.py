"""Reading a CT of 512 x 512 x 400 with every check, beside the bare pydicom read of the same files in the same run.

Run with the environment that calcitrack is installed in: ``python benchmarks/loading.py``. It needs 250 MB of disk.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from rich.console import Console
from rich.table import Table

SLICES, SIDE = 400, 512
RUNS = 3

READ = {
    "pydicom": """
import pydicom, numpy as np, pathlib
files = sorted(pathlib.Path(folder).iterdir())
volume = np.empty((len(files), 512, 512), np.int16)
for number, path in enumerate(files):
    one = pydicom.dcmread(path)
    volume[number] = one.pixel_array.astype(np.int32) * int(one.RescaleSlope) + int(one.RescaleIntercept)
""",
    "calcitrack": """
import monitor
volume = monitor.read(folder).array
""",
}
"""What each reader does, between the imports of a new interpreter and the volume in HU."""

FRAME = """
import sys, time, resource
folder = sys.argv[1]
import numpy, pydicom, SimpleITK, scipy.ndimage, monitor.scan
start = time.perf_counter()
{work}
first = time.perf_counter() - start
del volume
start = time.perf_counter()
{work}
again = time.perf_counter() - start
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from monitor._scan import fence
fence._FENCE.close()
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(first, again, own / 1024, child / 1024, int(volume[::7].astype(int).sum()))
"""


def main() -> None:
    """Print a table: seconds of the first and of a later read, the ratio, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        for path in Path(folder).iterdir():
            path.read_bytes()  # the disk is not what is compared
        found: dict[str, list[list[float]]] = {name: [] for name in READ}
        for _ in range(RUNS):
            for name, work in READ.items():
                command = [sys.executable, "-c", FRAME.format(work=work), folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name].append([float(number) for number in done.stdout.split()])
    best = {name: np.min(np.array(rows), axis=0) for name, rows in found.items()}
    table = Table("reader", "first, s", "again, s", "ratio first", "ratio again", "peak, MiB", "of its child, MiB")
    for name, row in best.items():
        ratios = row[:2] / best["pydicom"][:2]
        table.add_row(name, *(f"{number:.2f}" for number in (*row[:2], *ratios)), *(f"{mib:.0f}" for mib in row[2:4]))
    Console().print(table)
    sums = {row[4] for row in best.values()}
    Console().print(f"best of {RUNS} runs each; voxels agree: {len(sums) == 1}")


def write(folder: Path) -> None:
    """Write the series: a limb with noise, stored as a 12-bit scanner stores it."""
    chance = np.random.default_rng(0)
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    radius = np.hypot(x, y)
    base = np.select([radius < 20, radius < 150, radius < 180], [900, 55, -95], -1000)
    for number in range(SLICES):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = pydicom.uid.CTImageStorage, f"1.2.3.{number + 1}"
        one.ImageType, one.PatientID, one.PatientName = ["ORIGINAL", "PRIMARY", "AXIAL"], "1", "A"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.7", "1.2.8", "1.2.9"
        one.KVP, one.ConvolutionKernel, one.SliceThickness, one.Manufacturer = 120, "B30f", 1, "Maker"
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number]
        one.PixelSpacing, one.Rows, one.Columns = [0.7, 0.7], SIDE, SIDE
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
        stored = np.clip(base + chance.normal(0, 15, base.shape), -1024, 3071) + 1024
        one.PixelData = stored.astype("<u2").tobytes()
        one.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    Console().print(f"{time.perf_counter() - start:.0f} s in all, largest process {peak:.0f} MiB")
