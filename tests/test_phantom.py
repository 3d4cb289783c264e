"""The phantom is the truth of other tests; here it is held against closed forms, its own pictures and pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monitor import grid, phantom
from monitor.phantom.motion import Hinge
from monitor.phantom.optics import Scanner, slice_kernel
from monitor.phantom.shapes import Arc, Shape, Shell, ball, cluster, lace, pair

COARSE = (2.0, 2.0, 3.0)
"""A grid on which a visit takes a third of a second."""


BLURRED = {"visits": 2, "spacing_mm": COARSE, "noise_hu": 0.0, "slice_thickness_mm": 4.0}

SHAPES: dict[str, Shape] = {
    "ball": ball(4.0),
    "cluster": cluster(2.6),
    "pair": pair(6.5, 5.0, 9.0),
    "arc": Arc(3.0, 0.9, np.deg2rad(230), 20.0),
    "lace": lace(inner_mm=34.0, thickness_mm=1.6, angle_rad=np.deg2rad(52), length_mm=32.0),
    "shell": Shell((6.5, 8.0, 12.0), 1.8),
    "open shell": Shell((6.5, 8.0, 12.0), 1.8, 0.35),
}


@pytest.fixture(scope="module")
def limb() -> list[phantom.PhantomVisit]:
    """Four visits with every kind of lesion, without noise."""
    return phantom.series("limb", visits=4, spacing_mm=COARSE, noise_hu=0, growth_per_visit=1.04, bend_deg=15)


@pytest.fixture(scope="module")
def bare() -> phantom.PhantomVisit:
    """Make the second of two visits, without noise and without a lesion."""
    return phantom.series("limb", lesions=[], **BLURRED)[1]


def rows(visits: list[phantom.PhantomVisit], name: str) -> list[dict]:
    return [visit.lesions.set_index("lesion").loc[name].to_dict() for visit in visits]


class TestShapes:
    """Closed forms of volume."""

    @pytest.mark.parametrize("name", SHAPES)
    def test_volume(self, name: str) -> None:
        """The closed form agrees with counting points of a fine lattice."""
        shape = SHAPES[name]
        low, high = shape.box_mm
        step = (high - low) / 160
        x, y, z = (a + (np.arange(160) + 0.5) * d for a, d in zip(low, step, strict=True))
        zones = shape.zones((x[None, None, :], y[None, :, None], z[:, None, None]))
        counted = [np.count_nonzero(zone) * np.prod(step) for zone in zones]
        assert counted[0] == pytest.approx(shape.volume_mm3, rel=0.005)
        assert sum(counted) == pytest.approx(shape.envelope_mm3, rel=0.005)

    @pytest.mark.parametrize("name", SHAPES)
    def test_box_holds_all(self, name: str) -> None:
        """Nothing of a shape lies outside its box."""
        shape = SHAPES[name]
        low, high = shape.box_mm
        points = np.random.default_rng(1).uniform(low - 5, high + 5, size=(200_000, 3))
        inside = np.any(shape.zones((points[:, 0], points[:, 1], points[:, 2])), axis=0)
        assert inside.any()
        assert np.all((points[inside] >= low) & (points[inside] <= high))


class TestRendering:
    """What the picture holds."""

    @pytest.mark.parametrize("name", ["nodule", "cluster", "sheet", "shell", "arc", "near_bone", "on_bone", "merge_a"])
    def test_integral_is_truth(self, name: str, bare: phantom.PhantomVisit) -> None:
        """What a lesion adds to the picture, after blur and rounding, is the excess that the truth states."""
        visit = phantom.series("limb", lesions=[name], **BLURRED)[1]
        added = visit.scan.array.astype(float) - bare.scan.array
        stated = visit.lesions["excess_hu_mm3"].item()
        assert added.sum() * visit.scan.voxel_volume_mm3 == pytest.approx(stated, rel=0.01)

    def test_excess_in_closed_form(self) -> None:
        """A nodule within muscle, off its fat planes, adds its volume times its contrast."""
        row = rows(phantom.series("myositis", visits=1, lesions=["fleck"], noise_hu=0), "fleck")[0]
        assert row["excess_hu_mm3"] == pytest.approx(4 / 3 * np.pi * 2.6**3 * (260 - 57), rel=0.08)

    def test_volume_ignores_growth_and_warp(self, limb: list[phantom.PhantomVisit]) -> None:
        """A lesion that does not change keeps its volume while the child grows."""
        assert [row["volume_mm3"] for row in rows(limb, "nodule")] == pytest.approx([4 / 3 * np.pi * 125] * 4)
        assert limb[3].motion.growth == pytest.approx(1.04**3)

    def test_label_volume(self) -> None:
        """The majority label of a compact lesion has about its volume, and lies where the truth says."""
        visit = phantom.series("limb", visits=1, noise_hu=0)[0]
        row = rows([visit], "nodule")[0]
        index = np.argwhere(visit.labels == row["lesion_number"])
        assert len(index) * visit.scan.voxel_volume_mm3 == pytest.approx(row["volume_mm3"], rel=0.05)
        where = grid.to_mm(visit.scan.image, index).mean(axis=0)
        assert where == pytest.approx([row["x_mm"], row["y_mm"], row["z_mm"]], abs=0.3)

    def test_soft_core_counts_in_the_envelope_only(self, limb: list[phantom.PhantomVisit]) -> None:
        """A shell's core is mineral once it is denser than 130 HU."""
        first, last = rows(limb, "shell")[0], rows(limb, "shell")[3]
        assert first["volume_mm3"] < 0.6 * first["envelope_mm3"]
        assert last["volume_mm3"] == pytest.approx(last["envelope_mm3"])

    def test_tissues(self, limb: list[phantom.PhantomVisit]) -> None:
        """Air, fat and cortex have their HU; bone lies in the body and the table outside."""
        visit = limb[0]
        hu = visit.scan.array
        assert hu[visit.skeleton].max() > 800
        air = ndimage.binary_erosion(~(visit.body | visit.table), iterations=4)
        assert np.median(hu[air]) == pytest.approx(-1000, abs=2)
        assert not (visit.skeleton & ~visit.body).any()
        assert not (visit.table & visit.body).any()
        assert hu[visit.table].max() > -500

    @pytest.mark.parametrize("scene", phantom.SCENES)
    def test_lesions_are_in_place(self, scene: str) -> None:
        """No lesion of any scene lies in bone, in air or out of the field."""
        visits = phantom.series(scene, spacing_mm=COARSE, noise_hu=0)
        for visit in visits:
            lesion = visit.labels > 0
            assert (lesion & visit.skeleton).sum() <= 0.05 * lesion.sum()
            assert visit.body[lesion].mean() > 0.99
            assert visit.lesions.loc[visit.lesions["present"], "in_field"].eq(1).all()

    def test_voltage(self) -> None:
        """At 80 kVp mineral and bone gain contrast by 1/0.735; soft tissue stays."""
        options = {"visits": 1, "spacing_mm": COARSE, "noise_hu": 0.0}
        high, low = (phantom.series("limb", kvp=kvp, **options)[0] for kvp in (120.0, 80.0))
        before, after = (rows([visit], "nodule")[0]["mean_hu"] for visit in (high, low))
        assert (after - 57) / (before - 57) == pytest.approx(1 / 0.735)
        soft = high.body & ~ndimage.binary_dilation(high.skeleton | (high.labels > 0), iterations=3)
        assert low.scan.array[soft] == pytest.approx(high.scan.array[soft], abs=6)
        assert low.scan.array[high.skeleton].mean() > 1.2 * high.scan.array[high.skeleton].mean()

    @pytest.mark.parametrize("noise_hu", [10.0, 30.0])
    def test_noise(self, noise_hu: float) -> None:
        """Noise has the SD that was asked for, and is correlated in the plane and not across slices."""
        white = (
            Scanner(noise_hu=noise_hu).scan(np.zeros((40, 80, 80), np.float32), np.random.default_rng(3)).astype(float)
        )
        assert white.std() == pytest.approx(noise_hu, rel=0.01)
        assert np.mean(white[..., 1:] * white[..., :-1]) > 0.1 * noise_hu**2
        assert abs(np.mean(white[1:] * white[:-1])) < 0.02 * noise_hu**2

    def test_slice_profile(self) -> None:
        """The profile is a box of the thickness, in slices, and keeps the integral."""
        assert slice_kernel(1.0).tolist() == [1.0]
        assert slice_kernel(3.0) == pytest.approx(np.ones(3) / 3)
        assert slice_kernel(1.6).sum() == pytest.approx(1.0)


class TestMotion:
    """Where a point of one visit lies in another."""

    def test_maps_invert(self, limb: list[phantom.PhantomVisit]) -> None:
        """There and back again is no way at all, anywhere around the child."""
        points = np.random.default_rng(5).uniform(-80, 80, size=(2000, 3))
        for visit in limb:
            assert np.abs(visit.to_baseline(visit.from_baseline(points)) - points).max() < 1e-3
            assert np.abs(visit.from_baseline(visit.to_baseline(points)) - points).max() < 1e-3

    def test_baseline_is_identity(self, limb: list[phantom.PhantomVisit]) -> None:
        """The first visit is the baseline itself."""
        points = np.random.default_rng(6).uniform(-80, 80, size=(50, 3))
        assert limb[0].to_baseline(points) == pytest.approx(points)

    @settings(max_examples=30, deadline=None)
    @given(angle=st.floats(-10, 25), seed=st.integers(0, 1000))
    def test_hinge_inverts(self, angle: float, seed: int) -> None:
        """A bend is undone exactly at any angle allowed, in the thin gap of the joint too."""
        hinge = Hinge(-4.0, -4.0, 14.0, right_rad=np.deg2rad(angle), left_rad=np.deg2rad(angle / 2))
        x, y, z = np.random.default_rng(seed).uniform(-40, 40, size=(3, 300))
        back = hinge.straighten(hinge.bend((x, y, z)))
        assert np.abs(np.stack(back) - (x, y, z)).max() < 1e-4

    def test_bones_stay_rigid(self, limb: list[phantom.PhantomVisit]) -> None:
        """Distances within one bone only grow with the child, however the rest bends and gives."""
        x, _, z = limb[0].landmarks_mm.T
        bone = (limb[0].landmark_tissue == "bone") & (x < 0)
        for part in (bone & (z > 12), bone & (z < -25)):
            first, last = (
                np.linalg.norm(v.landmarks_mm[part][:, None] - v.landmarks_mm[part][None], axis=2)
                for v in (limb[0], limb[1])
            )
            assert part.sum() > 5
            assert last == pytest.approx(1.04 * first, abs=1e-3)

    def test_joint_bends(self, limb: list[phantom.PhantomVisit]) -> None:
        """The right shank turns against the thigh by the angle asked for."""
        above = [(-43.0, -4.0, 30.0), (-43.0, -4.0, 60.0)]
        below = [(-43.0, -4.0, -30.0), (-43.0, -4.0, -60.0)]
        thigh, shank = (np.diff(limb[1].from_baseline(np.array(line)), axis=0)[0] for line in (above, below))
        cosine = thigh @ -shank / np.linalg.norm(thigh) / np.linalg.norm(shank)
        assert np.rad2deg(np.arccos(cosine)) == pytest.approx(15, abs=0.01)

    def test_landmarks_lie_where_they_say(self, limb: list[phantom.PhantomVisit]) -> None:
        """At every visit the picture shows bone's border at bone landmarks, and flesh at muscle landmarks."""
        for visit in limb:
            assert visit.landmarks_mm.shape == limb[0].landmarks_mm.shape
            seen = grid.inside(visit.scan.image, visit.landmarks_mm, margin_voxels=1)
            for tissue, mask in (("bone", visit.skeleton), ("skin", visit.body)):
                distance = ndimage.distance_transform_edt(mask, COARSE[::-1]) + ndimage.distance_transform_edt(
                    ~mask, COARSE[::-1]
                )
                where = visit.landmarks_mm[seen & (visit.landmark_tissue == tissue)]
                assert len(where) > 40
                assert np.quantile(grid.sample(visit.scan.image, distance, where, order=0), 0.95) <= 3.7
            flesh = visit.landmarks_mm[seen & (visit.landmark_tissue == "muscle")]
            assert np.median(grid.sample(visit.scan.image, visit.scan.array, flesh)) == pytest.approx(55, abs=12)

    def test_lesions_move_with_their_place(self, limb: list[phantom.PhantomVisit]) -> None:
        """A nodule's centre is carried to the centre that it had at the baseline."""
        first, last = (
            np.array([row["x_mm"], row["y_mm"], row["z_mm"]]) for row in (rows(limb, "nodule")[i] for i in (0, 3))
        )
        assert limb[3].to_baseline(last)[0] == pytest.approx(first, abs=0.1)
        assert np.linalg.norm(last - first) > 3


class TestCourse:
    """What becomes of lesions and of the field."""

    def test_merge(self, limb: list[phantom.PhantomVisit]) -> None:
        """Two lesions become one with the volume of both less what they share."""
        first, second = rows(limb, "merge_a"), rows(limb, "merge_b")
        assert [row["present"] for row in second] == [True, True, False, False]
        assert [row["merged_into"] for row in second] == ["", "", "merge_a", "merge_a"]
        assert first[3]["volume_mm3"] == pytest.approx(pair(8.2, 7.4, 14.0).volume_mm3)
        label = limb[3].labels == first[3]["lesion_number"]
        assert ndimage.label(label, np.ones((3, 3, 3)))[1] == 1
        assert not (limb[3].labels == second[3]["lesion_number"]).any()

    def test_appear_and_vanish(self, limb: list[phantom.PhantomVisit]) -> None:
        """One comes and one goes; where there is none the volume is 0, the HU unknown and the place known."""
        assert [row["present"] for row in rows(limb, "appear")] == [False, True, True, True]
        assert [row["present"] for row in rows(limb, "vanish")] == [True, True, False, False]
        gone = rows(limb, "vanish")[3]
        assert gone["volume_mm3"] == 0
        assert np.isnan(gone["mean_hu"])
        assert np.isfinite([gone["x_mm"], gone["y_mm"], gone["z_mm"]]).all()

    def test_cut(self) -> None:
        """A cut takes slices off one end; the lesions there keep their volume and are out of the field."""
        whole, top, bottom = (
            phantom.series("limb", visits=1, spacing_mm=COARSE, cut=cut, noise_hu=0)[0]
            for cut in (None, {0: 0.4}, {0: -0.4})
        )
        assert top.scan.array.shape[0] == bottom.scan.array.shape[0] < whole.scan.array.shape[0]
        assert np.array_equal(bottom.skeleton, whole.skeleton[-len(bottom.skeleton) :])
        assert np.array_equal(top.skeleton, whole.skeleton[: len(top.skeleton)])
        thigh, calf = rows([top], "nodule")[0], rows([top], "cluster")[0]
        assert (thigh["in_field"], calf["in_field"]) == (0, 1)
        assert thigh["volume_mm3"] == rows([whole], "nodule")[0]["volume_mm3"]
        assert thigh["excess_hu_mm3"] == 0

    def test_dates(self, limb: list[phantom.PhantomVisit]) -> None:
        """Years count from the first scan in years of 365.25 days."""
        assert limb[0].years == 0
        assert limb[2].years == pytest.approx((limb[2].date - limb[0].date).days / 365.25)
        assert list(phantom.truth(limb).columns[:5]) == ["patient_id", "visit_id", "date", "years", "lesion"]


class TestRepeatability:
    """Seeds and refusals."""

    def test_same_seed_same_bytes(self) -> None:
        """The same call gives the same bytes, another seed others."""
        options = {"visits": 2, "spacing_mm": COARSE}
        first, again = phantom.series("jdm", **options)[1], phantom.series("jdm", **options)[1]
        other = phantom.series("jdm", seed=1, **options)[1]
        assert first.scan.array.tobytes() == again.scan.array.tobytes()
        assert first.lesions.equals(again.lesions)
        assert first.scan.array.tobytes() != other.scan.array.tobytes()

    def test_options_do_not_shift_each_other(self) -> None:
        """Another noise leaves pose, anatomy and truth as they were."""
        quiet, loud = (phantom.series("limb", visits=2, spacing_mm=COARSE, noise_hu=noise)[1] for noise in (0.0, 40.0))
        assert np.array_equal(quiet.landmarks_mm, loud.landmarks_mm)
        difference = (loud.scan.array.astype(float) - quiet.scan.array)[quiet.body]
        assert difference.std() == pytest.approx(40, rel=0.02)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scene": "arm"}, "scene must be one of gaci, myositis, jdm, limb, maturing; got 'arm'"),
            ({"warp_mm": 9.0}, "warp_mm must lie in 0 to 4.*got 9"),
            ({"bend_deg": 60.0}, "bend_deg must lie in -10 to 30"),
            ({"scene": "gaci", "bend_deg": 5.0}, "scene without a joint"),
            ({"kvp": 50.0}, "kvp must lie in 70 to 140 kV; got 50"),
            ({"noise_hu": [1.0, 2.0, 3.0]}, "one for each of 2 visits; got 3"),
            ({"cut": {1: 1.5}}, "cut must lie between -1 and 1; got 1.5"),
            ({"visits": 0}, "visits must be 1 or more; got 0"),
            ({"lesions": ["wart"]}, "lesions must be of nodule, .*; got wart"),
        ],
    )
    def test_refuses(self, options: dict, message: str) -> None:
        """What cannot be made is refused with the rule and the value."""
        asked = {"scene": "limb", "visits": 2, "spacing_mm": (4.0, 4.0, 6.0), **options}
        with pytest.raises(ValueError, match=message):
            phantom.series(asked.pop("scene"), **asked)


class TestDicom:
    """Files."""

    def test_round_trip(self, limb: list[phantom.PhantomVisit], tmp_path: Path) -> None:
        """Another reader gets the same HU in the same place, with the headers that a scanner writes."""
        visit = limb[1]
        slices = [pydicom.dcmread(path) for path in sorted(phantom.write_dicom(visit, tmp_path / "V1").iterdir())]
        hu = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
        assert np.array_equal(hu, visit.scan.array)
        assert [float(v) for v in slices[0].ImagePositionPatient] == pytest.approx(visit.scan.image.GetOrigin())
        assert [float(v) for v in slices[0].PixelSpacing] == [2.0, 2.0]
        step = np.diff([float(s.ImagePositionPatient[2]) for s in slices])
        assert step == pytest.approx(3.0)
        assert (slices[0].KVP, slices[0].ConvolutionKernel, slices[0].SliceThickness) == (120, "Br40", 3)
        assert len({s.SOPInstanceUID for s in slices}) == len(slices)
        assert all(s.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1" for s in slices)

    def test_same_bytes_twice(self, limb: list[phantom.PhantomVisit], tmp_path: Path) -> None:
        """No clock and no chance is in a file."""
        first, again = (phantom.write_dicom(limb[0], tmp_path / name) for name in ("a", "b"))
        assert [p.read_bytes() for p in sorted(first.iterdir())] == [p.read_bytes() for p in sorted(again.iterdir())]

    def test_study(self, tmp_path: Path) -> None:
        """The study folder has the contract's tables and scans, and no truth."""
        study = phantom.write_study(tmp_path / "study", visits=1, spacing_mm=COARSE)
        assert sorted(path.name for path in study.iterdir()) == [
            "dicom",
            "events.csv",
            "growth.csv",
            "patients.csv",
            "scores.csv",
            "visits.csv",
        ]
        visits = (study / "visits.csv").read_text().splitlines()
        assert visits[0].startswith("patient_id,visit_id,date,path")
        assert [line.split(",")[0] for line in visits[1:]] == ["P001", "P002", "P003"]
        assert all((study / line.split(",")[3]).is_dir() for line in visits[1:])
        assert "bisphosphonate" in (study / "events.csv").read_text()
