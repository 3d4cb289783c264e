"""A scan as a coarser scanner would have shown it."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import monitor
from monitor import anatomy, burden, coarser, grid, lesions
from monitor.coarser import Protocol
from monitor.phantom import PhantomVisit, series, write_dicom
from monitor.types import Anatomy, Findings, Scan
from tests.made import scan_of

THIN = {"slice_thickness_mm": 1.0, "slice_increment_mm": 1.0, "sigma_mm": 0.5}


def shown(hu: np.ndarray, labels: np.ndarray, wanted: Protocol, *, thickness_mm: float = nan, sigma_mm: float = nan):
    """Show made voxels of 0.5 x 0.5 x 1 mm by a protocol; all is body."""
    scan = scan_of(hu.astype(np.float32), (0.5, 0.5, 1.0), origin_mm=(3.0, 4.0, 5.0))
    scan = replace(scan, acquisition=replace(scan.acquisition, slice_thickness_mm=thickness_mm))
    none = np.zeros(hu.shape, bool)
    known = Anatomy(~none, none, none, 10.0, 40.0, np.full((1, 1, 1), 10.0))
    found = Findings(labels.astype(np.uint16), 130.0, 8.0)
    return coarser.show(scan, known, found, wanted, sigma_mm=sigma_mm)


def test_a_thick_slice_is_the_mean_of_thin_ones_and_lies_at_their_middle():
    """Closed form: twelve slices become four of three, each the mean of its three."""
    hu = np.arange(12.0)[:, None, None] * np.ones((12, 8, 8))
    one, _, _ = shown(hu, np.zeros(hu.shape), Protocol(3.0, 3.0))
    assert one.array[:, 0, 0].tolist() == [1.0, 4.0, 7.0, 10.0]
    assert one.image.GetSpacing() == (0.5, 0.5, 3.0)
    assert one.image.GetOrigin() == (3.0, 4.0, 6.0)
    assert (one.acquisition.slice_thickness_mm, one.acquisition.slice_increment_mm) == (3.0, 3.0)


@pytest.mark.parametrize(("thickness", "increment"), [(2.5, 2.5), (3.0, 1.5), (1.0, 2.0), (5.0, 4.0)])
def test_a_ramp_stays_where_it_is(thickness, increment):
    """Any thickness and increment: HU that rise with z are at each new slice those of its place."""
    hu = (5.0 + np.arange(40.0))[:, None, None] * np.ones((40, 4, 4))
    one, _, _ = shown(hu, np.zeros(hu.shape), Protocol(thickness, increment))
    places = grid.to_mm(one.image, np.argwhere(np.ones(one.array.shape, bool)))[:, 2]
    # Where a box cuts a slice, the part has the slice's HU: a twentieth of a slice at most.
    np.testing.assert_allclose(one.array.ravel(), places, atol=0.051)
    assert one.image.GetSpacing()[2] == pytest.approx(increment)


def test_what_slices_average_already_is_taken_off():
    """Slices of 2 mm every 1 mm, shown as 3 mm: the box's variance is that of 3 mm less that of 2 mm, and a voxel's."""
    hu = np.zeros((41, 4, 4))
    hu[20] = 1.0
    one, _, _ = shown(hu, np.zeros(hu.shape), Protocol(3.0, 1.0), thickness_mm=2.0)
    profile = one.array[:, 0, 0].astype(float)
    places = grid.to_mm(one.image, np.argwhere(np.ones((len(profile), 1, 1), bool)))[:, 2]
    # A box of width w sampled at 1 mm: variance (w² - 1) / 12 and what linear shares of its ends add.
    wide = np.sqrt(3.0**2 - 2.0**2 + 1.0)
    assert profile.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.average((places - 25.0) ** 2, weights=profile) == pytest.approx((wide**2 - 1) / 12, abs=0.2)


def test_the_plane_is_blurred_by_what_is_missing():
    """From a blur of 0.6 to one of 1.0 mm a point spreads by 0.8 mm; without another kernel it stays."""
    hu = np.zeros((3, 61, 61))
    hu[1, 30, 30] = 1.0
    one, _, _ = shown(hu, np.zeros(hu.shape), Protocol(1.0, 1.0, 1.0), sigma_mm=0.6)
    own = one.array[1].astype(float)
    x = 0.5 * (np.arange(61) - 30)
    assert np.sqrt((own.sum(axis=0) * x**2).sum() / own.sum()) == pytest.approx(0.8, abs=0.02)
    same, _, _ = shown(hu, np.zeros(hu.shape), Protocol(1.0, 1.0), sigma_mm=0.6)
    assert (same.array == hu.astype(np.float32)).all()


def test_every_piece_keeps_its_label():
    """A piece of half a thick slice keeps the voxels it fills most; neighbours share a slice by what they fill."""
    labels = np.zeros((12, 8, 8), int)
    labels[1, 2, 2] = 1
    labels[3:8, 5, 5] = 2
    labels[8:10, 5, 5] = 3
    _, _, found = shown(np.zeros(labels.shape), labels, Protocol(3.0, 3.0))
    assert {int(n): np.argwhere(found.labels == n).tolist() for n in (1, 2, 3)} == {
        1: [[0, 2, 2]],
        2: [[1, 5, 5], [2, 5, 5]],
        3: [[3, 5, 5]],
    }


def test_two_protocols_in_common():
    """Each is shown by the coarser in every respect; an unknown blur matters only where kernels differ."""
    thick = {"slice_thickness_mm": 3.0, "slice_increment_mm": 2.0, "sigma_mm": 0.4}
    assert coarser.common(THIN, thick, kernels=True) == Protocol(3.0, 2.0, 0.5)
    assert not coarser.shown_by(THIN, Protocol(3.0, 2.0, 0.5))
    assert not coarser.shown_by(thick, Protocol(3.0, 2.0, 0.5))
    assert coarser.shown_by(thick, Protocol(3.0, 2.0, 0.4))
    unknown = {**thick, "sigma_mm": nan}
    assert coarser.common(THIN, unknown, kernels=True) is None
    assert str(coarser.common(THIN, unknown, kernels=False)) == "slices of 3 mm every 2 mm"
    assert coarser.common({**THIN, "slice_increment_mm": nan}, thick, kernels=False) is None


def _looked(scan: Scan) -> tuple[Anatomy, Findings]:
    found = anatomy.find(scan)
    return found, lesions.find(scan, found)


@pytest.mark.slow
def test_a_fine_scan_errs_as_the_coarse_one_does():
    """Truth: shown at 3 mm by a smooth kernel, the volumes of a sharp thin scan are off by what a true one's are."""
    how = {"seed": 3, "visits": 1, "noise_hu": 18.0}
    thin = series("limb", spacing_mm=(0.8, 0.8, 1.0), blur_sigma_mm=0.5, **how)[0]
    thick = series("limb", spacing_mm=(0.8, 0.8, 3.0), blur_sigma_mm=0.8, **how)[0]
    known = [(visit, *_looked(visit.scan)) for visit in (thin, thick)]
    measured = [burden.measure_voxels(visit.scan, seen, pieces) for visit, seen, pieces in known]
    said = [
        {"slice_thickness_mm": slices, "slice_increment_mm": slices, "sigma_mm": one[2].sigma_mm}
        for slices, one in zip((1.0, 3.0), measured, strict=True)
    ]
    wanted = coarser.common(*said, kernels=True)
    assert wanted is not None
    shown_ = burden.measure(*coarser.show(thin.scan, *known[0][1:], wanted, sigma_mm=said[0]["sigma_mm"]))
    fine, coarse, shown_ = (table.set_index("label") for table in (measured[0][0], measured[1][0], shown_))
    rows = []
    for lesion in ("nodule", "shrink", "merge_a", "grow", "cluster"):
        own, there = (_label(visit, part, lesion) for visit, _, part in known)
        rows.append([one.loc[n, "volume_mm3"] for one, n in ((fine, own), (shown_, own), (coarse, there))])
    at_first, as_shown, as_scanned = np.log(np.array(rows).T)
    # Thick slices make a cluster a third larger; shown alike, what is left is placement and noise.
    assert np.abs(at_first - as_scanned).mean() > 2 * np.abs(as_shown - as_scanned).mean()
    assert np.abs(at_first - as_scanned).max() > 0.2
    assert np.abs(as_shown - as_scanned).max() < 0.1


def _label(visit: PhantomVisit, found: Findings, lesion: str) -> int:
    number = visit.lesions.set_index("lesion").loc[lesion, "lesion_number"]
    own = found.labels[(visit.labels == number) & (found.labels > 0)]
    return int(np.bincount(own).argmax())


@pytest.mark.slow
def test_visits_of_other_slices_are_compared_as_the_coarser_shows_both(tmp_path: Path):
    """From DICOM to table changes: thin and thick slices get a verdict, tube voltages that differ do not."""
    how = {"seed": 42, "visits": 3, "noise_hu": 12.0}
    made = [
        series("limb", spacing_mm=(0.9, 0.9, 1.5), **how)[0],
        series("limb", spacing_mm=(0.9, 0.9, 3.0), **how)[1],
        series("limb", spacing_mm=(0.9, 0.9, 1.5), kvp=80.0, **how)[2],
    ]
    lines = []
    for visit in made:
        path = write_dicom(visit, tmp_path / "study" / visit.visit_id)
        about = {"patient_id": "P1", "visit_id": visit.visit_id, "date": visit.date}
        lines.append({**about, "path": str(path.relative_to(tmp_path / "study"))})
    pd.DataFrame(lines).to_csv(tmp_path / "study" / "visits.csv", index=False)
    found = monitor.follow(tmp_path / "study", tmp_path / "results").tables
    first, second, third = (visit.visit_id for visit in made)
    rows = found["changes"][found["changes"]["comparison"] == "previous"]
    alike = rows[(rows["from_visit"] == first) & (rows["quantity"] == "volume_mm3") & rows["lesion_id"].notna()]
    assert len(alike) >= 5
    assert (alike["verdict"] != "not_comparable").all()
    assert alike["why"].str.contains("both measured as slices of 3 mm every 3 mm would show them").all()
    assert alike["rule_id"].str.endswith(";both-shown-by=slices-of-3-mm-every-3-mm").all()
    other = rows[(rows["to_visit"] == third) & (rows["quantity"] == "volume_mm3")]
    assert len(other)
    assert (other["verdict"] == "not_comparable").all()
    own = found["lesions"][found["lesions"]["visit_id"] == first].set_index("lesion_id")["volume_mm3"]
    before = alike.set_index("lesion_id")["before"]
    # What is compared is the thick picture of the thin scan; what the visit holds is its own.
    assert (before - own.loc[before.index]).abs().max() > 1
    flags = found["visits"].set_index("visit_id")["comparable"]
    assert flags.to_dict() == {first: True, second: False, third: False}


def test_masks_follow_their_half():
    """A mask of two of three thin slices is in the thick one; of one it is not."""
    hu = np.full((6, 8, 8), 40.0)
    scan = scan_of(hu.astype(np.float32), (0.5, 0.5, 1.0))
    bone = np.zeros(hu.shape, bool)
    bone[1:4] = True
    none = np.zeros(hu.shape, bool)
    known = Anatomy(~none, bone, none, 10.0, 40.0, np.full((1, 1, 1), 10.0))
    _, seen, _ = coarser.show(scan, known, Findings(none.astype(np.uint16), 130.0, 8.0), Protocol(3.0, 3.0))
    assert seen.skeleton.all(axis=(1, 2)).tolist() == [True, False]
    assert seen.body.all()
    assert not ndimage.label(seen.left_out)[1]
