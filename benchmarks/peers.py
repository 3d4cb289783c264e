"""Carry points by another program's registration: ``peers.py METHOD FIXED MOVING POINTS.npy OUT.npy``.

Runs by itself, so that its time and memory can be told, and imports nothing of ours: the peers may live elsewhere.
Points are the fixed scan's, (N, 3) LPS mm; what is written is where they lie in the moving scan.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def elastix(fixed: str, moving: str, points: np.ndarray, folder: str) -> np.ndarray:
    """Rigid, affine, then B-splines 10 mm apart: the default maps of elastix' manual.

    Tried on other seeds: 1000 iterations, 4096 samples and a mask of the body took four times as long; errors were a
    third smaller on the thigh and twice as large on the trunk.
    """
    import itk

    images = [itk.imread(path, itk.F) for path in (fixed, moving)]
    said = itk.ParameterObject.New()
    for name in ("rigid", "affine", "bspline"):
        said.AddParameterMap(said.GetDefaultParameterMap(name, 4, 10.0))
    _, found = itk.elastix_registration_method(*images, parameter_object=said, log_to_console=False)
    file = Path(folder) / "points.txt"
    rows = "\n".join(" ".join(f"{value:.6f}" for value in point) for point in points)
    file.write_text(f"point\n{len(points)}\n{rows}\n")
    itk.transformix_filter(
        images[1], found, fixed_point_set_file_name=str(file), output_directory=folder, log_to_console=False
    )
    lines = (Path(folder) / "outputpoints.txt").read_text().splitlines()
    return np.array([line.split("OutputPoint = [")[1].split("]")[0].split() for line in lines], float)


def ants(fixed: str, moving: str, points: np.ndarray, folder: str) -> np.ndarray:
    """SyN with the iterations that ANTs' own scripts take for careful work; a rigid stage before changed nothing."""
    import ants as program
    import pandas as pd

    images = [program.image_read(path) for path in (fixed, moving)]
    found = program.registration(
        *images, type_of_transform="SyN", reg_iterations=(100, 70, 50, 20), outprefix=f"{folder}/ants"
    )
    table = pd.DataFrame(points, columns=["x", "y", "z"])
    return program.apply_transforms_to_points(3, table, found["fwdtransforms"])[["x", "y", "z"]].to_numpy()


def greedy(fixed: str, moving: str, points: np.ndarray, folder: str) -> np.ndarray:
    """Rigid, affine, then NCC of 5 voxels, as in greedy's manual; without the rigid stage limbs were lost."""
    import SimpleITK as sitk
    from picsl_greedy import Greedy3D
    from scipy import ndimage

    common = f"-d 3 -m NCC 2x2x2 -i {fixed} {moving} -n 100x50x20"
    Greedy3D().execute(f"{common} -a -ia-image-centers -dof 6 -o {folder}/rigid.mat")
    Greedy3D().execute(f"{common} -a -ia {folder}/rigid.mat -dof 12 -o {folder}/affine.mat")
    Greedy3D().execute(f"{common} -it {folder}/affine.mat -s 3vox 0.5vox -o {folder}/warp.nii.gz")
    warp = sitk.ReadImage(f"{folder}/warp.nii.gz")
    field = sitk.GetArrayFromImage(warp)
    direction = np.array(warp.GetDirection()).reshape(3, 3) * warp.GetSpacing()
    index = np.linalg.solve(direction, (points - warp.GetOrigin()).T)[::-1]
    moved = points + np.stack(
        [ndimage.map_coordinates(field[..., k], index, order=1, mode="nearest") for k in range(3)], 1
    )
    matrix, flip = np.loadtxt(f"{folder}/affine.mat"), np.array([-1.0, -1.0, 1.0])
    return ((moved * flip) @ matrix[:3, :3].T + matrix[:3, 3]) * flip


def write_peak(out: str) -> None:
    """Write the peak memory of this process, KiB, beside its output.

    From within: what a parent is told of its child counts the parent too, up to where the child's program starts.
    """
    status = Path("/proc/self/status").read_text()
    Path(f"{out}.kib").write_text(status.split("VmHWM:")[1].split()[0])


METHODS: dict[str, Callable[[str, str, np.ndarray, str], np.ndarray]] = {
    "elastix": elastix,
    "ants": ants,
    "greedy": greedy,
}

if __name__ == "__main__" and len(sys.argv) == 6:
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "2")
    with tempfile.TemporaryDirectory() as scratch:
        carried = METHODS[sys.argv[1]](sys.argv[2], sys.argv[3], np.load(sys.argv[4]), scratch)
    np.save(sys.argv[5], carried)
    write_peak(sys.argv[5])
