"""A tilted gantry through every measurement: the numbers are those of the same limb with the gantry upright."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage

from monitor import anatomy, burden, describe, grid, lesions, pipeline, scan, store
from monitor.types import Acquisition, Scan
from tests.made import Ball, blend, plane

SPACING_MM = (0.8, 0.8, 2.0)
SLICES, COLUMNS, ROWS = 30, 100, 115
FINE_MM, PARTS = 0.2, 4
"""Steps of the model down a slice, mm, and through its thickness."""
BLUR_MM, NOISE_HU = 0.7, 10.0
BALLS = (
    Ball((10.0, -14.0, -18.0), 4.0, 500.0),
    Ball((12.0, 10.0, 0.0), 5.0, 450.0),
    Ball((-2.0, -20.0, 15.0), 4.5, 600.0),
)


def limb(tilt_degrees: float, *, seed: int = 0, balls: tuple[Ball, ...] = BALLS) -> Scan:
    """Render a limb as a gantry that leans by an angle about x sees it: each slice upright, and aside of the last."""
    lean = np.tan(np.radians(tilt_degrees))
    x = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * SPACING_MM[0]
    down = np.arange(-80, 90, FINE_MM)
    through = (np.arange(SLICES * PARTS) - (SLICES * PARTS - 1) / 2) * SPACING_MM[2] / PARTS
    hu = plane(x, down, bone=True, shift_hu=0.0)[None].repeat(len(through), axis=0)
    for one in balls:
        blend(hu, one.centre_mm, one.radius_mm, one.hu, (x, down, through))
    hu = ndimage.gaussian_filter(hu, (0, BLUR_MM / FINE_MM, BLUR_MM / SPACING_MM[0]))
    hu = hu.reshape(SLICES, PARTS, len(down), COLUMNS).mean(axis=1)
    z = (np.arange(SLICES) - (SLICES - 1) / 2) * SPACING_MM[2]
    y = (np.arange(ROWS) - ROWS // 2) * SPACING_MM[1] + 5
    rows = [np.meshgrid((y + height * lean - down[0]) / FINE_MM, np.arange(COLUMNS), indexing="ij") for height in z]
    seen = np.stack([ndimage.map_coordinates(hu[k], at, order=1, mode="nearest") for k, at in enumerate(rows)])
    seen += np.random.default_rng(seed).normal(0, NOISE_HU, seen.shape)
    image = sitk.GetImageFromArray(np.rint(np.clip(seen, -1024, 3071)).astype(np.int16))
    step = np.array([0, SPACING_MM[2] * lean, SPACING_MM[2]])
    image.SetSpacing((*SPACING_MM[:2], float(np.linalg.norm(step))))
    image.SetOrigin((float(x[0]), float(y[0] + z[0] * lean), float(z[0])))
    axes = np.stack([[1, 0, 0], [0, 1, 0], step / np.linalg.norm(step)], axis=1)
    image.SetDirection(axes.ravel().tolist())
    return Scan(image, acquisition=Acquisition(kvp=120.0, slice_increment_mm=SPACING_MM[2]))


def measured(one: Scan) -> pd.DataFrame:
    """Return what is measured of the three balls, in their order."""
    found = anatomy.find(one)
    pieces = lesions.find(one, found)
    table = burden.measure(one, found, pieces).merge(describe.describe(one, found, pieces, None), on="label")
    places = table[["x_mm", "y_mm", "z_mm"]].to_numpy()
    order = [int(np.linalg.norm(places - ball.centre_mm, axis=1).argmin()) for ball in BALLS]
    assert len(table) == len(BALLS)
    return table.iloc[order].reset_index(drop=True)


@pytest.mark.parametrize("tilt", [-25.0, 15.0, 28.0])
def test_a_tilt_moves_no_number(tilt):
    """Independent value: volume, excess, score, depth and place of a lesion are those of the upright gantry."""
    upright, leaning = measured(limb(0.0)), measured(limb(tilt, seed=1))
    for name, tolerance in (("volume_mm3", 0.03), ("excess_hu_mm3", 0.03), ("envelope_mm3", 0.03), ("agatston", 0.08)):
        assert (leaning[name] / upright[name]).to_numpy() == pytest.approx(np.ones(len(BALLS)), abs=tolerance), name
    assert leaning["depth_mm"].to_numpy() == pytest.approx(upright["depth_mm"].to_numpy(), abs=0.5, rel=0.15)
    for name, axis in (("x_mm", 0), ("y_mm", 1), ("z_mm", 2)):
        assert leaning[name].to_numpy() == pytest.approx([ball.centre_mm[axis] for ball in BALLS], abs=0.2)


def test_depth_is_that_of_the_patient():
    """Closed form: in a tilted grid the axis of a ball lies as deep as its radius."""
    for tilt in (0.0, 25.0):
        one = limb(tilt, balls=())
        index = np.argwhere(np.ones(one.array.shape, bool))
        away = np.linalg.norm(grid.to_mm(one.image, index) - [0, 0, 0], axis=1).reshape(one.array.shape)
        assert grid.depth_mm(away < 20, one.image).max() == pytest.approx(20, abs=1.5)


def test_label_maps_of_a_tilted_scan_keep_the_shear(tmp_path):
    """Independent value: nibabel reads the sheared .nii.gz, ITK the .nrrd; every voxel lies where the scan has it."""
    one = limb(20.0)
    labels = (one.array > 300).astype(np.uint16)
    store.write_labels(tmp_path / "lesions.nii.gz", labels, one.image)
    first = (tmp_path / "lesions.nii.gz").read_bytes()
    found = store.read_labels(tmp_path / "lesions.nii.gz")
    assert np.array_equal(grid.array(found), labels)
    assert grid.affine(found) == pytest.approx(grid.affine(one.image), abs=1e-6)
    held = nibabel.load(tmp_path / "lesions.nii.gz")
    assert np.array_equal(np.asanyarray(held.dataobj).T, labels)
    lps = np.diag([-1, -1, 1, 1]) @ held.affine
    assert lps[:3, [2, 1, 0, 3]] == pytest.approx(grid.affine(one.image)[:3], abs=1e-4)
    assert np.array_equal(scan.read_mask(tmp_path / "lesions.nii.gz", one.image, labels=True), labels)
    store.write_labels(tmp_path / "lesions.nii.gz", labels, one.image)
    assert (tmp_path / "lesions.nii.gz").read_bytes() == first


@pytest.mark.slow
def test_upright_and_tilted_visits_are_followed(tmp_path: Path):
    """The whole line: a tilted follow-up keeps the lesions' identities and volumes."""
    rows = []
    for number, tilt in enumerate((0.0, 18.0)):
        sitk.WriteImage(limb(tilt, seed=number).image, str(tmp_path / f"V{number}.nrrd"))
        day = f"202{number}-03-01"
        rows.append({"patient_id": "T", "visit_id": f"V{number}", "date": day, "path": f"V{number}.nrrd", "kvp": 120})
    pd.DataFrame(rows).to_csv(tmp_path / "visits.csv", index=False)
    found = pipeline.follow(tmp_path, tmp_path / "results")
    table = found.tables["lesions"]
    assert not len(found.tables["refused"])
    assert table.groupby("lesion_id")["visit_id"].apply(list).tolist() == [["V0", "V1"]] * len(BALLS)
    one, two = (table.loc[table["visit_id"] == visit, "volume_mm3"].to_numpy(float) for visit in ("V0", "V1"))
    assert two / one == pytest.approx(np.ones(len(BALLS)), abs=0.05)
    assert (found.folder / "images" / "T" / "V1" / "lesions.nrrd").exists()
