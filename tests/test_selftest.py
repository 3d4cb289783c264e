"""The selftest: what is put in is what is said to be, the rest of the scan stays, and the line is judged by it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from monitor import grid, pipeline, store
from monitor import noise as noises
from monitor._burden.outline import Blur
from monitor._selftest import inserted, judged, visits
from monitor._selftest.inserted import NOTHING, Inserted, Painted, State
from monitor._selftest.visits import Baseline, Made
from monitor.errors import StoreError, StudyError
from monitor.phantom.motion import Motion
from monitor.store import Results
from monitor.types import Anatomy
from tests import made

selftest = importlib.import_module("monitor.selftest")

BLUR = Blur(sigma_mm=0.7, slice_mm=1.5)


def baseline(**scanner: float) -> Baseline:
    """Return the small limb of the tests as a baseline whose anatomy is known from its HU."""
    scan = made.limb(noise_hu=12.0, slices=40, **scanner)
    x, y, _ = made.axes(scan.array.shape, (1.0, 1.0, 1.5))
    radius = np.hypot(*np.meshgrid(x, y))
    bone = np.hypot(*np.meshgrid(x - made.BONE_AT[0], y - made.BONE_AT[1])) < made.BONE_MM
    body, skeleton = (np.repeat(mask[None], 40, axis=0) for mask in (radius < made.SKIN_MM, bone))
    nothing = np.zeros(body.shape, bool)
    sd = noises.measure_noise(scan.array, body & ~skeleton, scan.spacing_zyx_mm)[0]
    found = Anatomy(body, skeleton, nothing, sd, made.MUSCLE_HU, np.full((1, 1, 1), sd))
    return Baseline("P001", scan, found, nothing, BLUR, 12.0)


@pytest.mark.parametrize("form", inserted.FORMS)
@pytest.mark.parametrize("volume_mm3", [25.0, 150.0, 600.0])
def test_a_painted_lesion_holds_its_volume_and_its_contrast(form, volume_mm3):
    """Closed form: in even tissue the excess is volume times contrast within 1 %, and outside nothing is touched."""
    like = made.limb(noise_hu=0.0, bone=False)
    tissue = np.full(like.array.shape, 50.0, np.float32)
    values = tissue.copy()
    state = State(inserted._scaled(form, volume_mm3), 450.0)
    place = grid.to_mm(like.image, np.array(like.array.shape) / 2)[0] + [0.3, -0.2, 0.4]
    truth = inserted.paint(values, tissue, like.image, (state, place, np.eye(3)), BLUR)
    added = (values - tissue).sum(dtype=float) * like.voxel_volume_mm3
    assert truth.volume_mm3 == pytest.approx(volume_mm3, rel=1e-9)
    assert truth.excess_hu_mm3 == pytest.approx(volume_mm3 * 400.0, rel=0.01)
    assert added == pytest.approx(truth.excess_hu_mm3, rel=1e-3)
    away = np.linalg.norm(grid.to_mm(like.image, np.argwhere(values != tissue)) - place, axis=1)
    assert away.max() < inserted._reach_mm(state.shape) + 6.0
    assert np.linalg.norm(truth.points_mm.mean(axis=0) - place) < 1.0


def test_mineral_takes_the_place_of_what_was_there():
    """At the border of fat and muscle the middle of a large lesion is mineral alone, whatever was there."""
    like = made.limb(noise_hu=0.0, bone=False)
    tissue = np.where(np.arange(like.array.shape[2]) < 40, -100.0, 50.0) * np.ones(like.array.shape)
    values = tissue.astype(np.float32)
    state = State(inserted._scaled(inserted.BALL, 2000.0), 400.0)
    place = grid.to_mm(like.image, np.array([16.0, 44.0, 39.5]))[0]
    inserted.paint(values, tissue, like.image, (state, place, np.eye(3)), BLUR)
    inner = values[15:18, 42:46, 36:44]
    assert np.ptp(inner) < 2.0
    assert inner.mean() == pytest.approx(400.0, abs=2.0)


def test_sizes_follow_the_patient_and_the_limit_of_detection():
    """Middle and large are the patient's own, the small ones twice the limit; what is too large is not put in."""
    found = inserted.planned([80.0, 120.0, 500.0, 9000.0], 600.0, tissue_hu=50.0, lod_mm3=10.0)
    volumes = {round(one.before.shape.volume_mm3) for one in found if one.before is not None}
    assert volumes == {20, 310, 1500}
    assert {one.kind for one in found} == {kind for kind, _ in inserted.PLAN}
    assert {one.kind for one in found[: len(inserted.PLAN)]} == {kind for kind, _ in inserted.PLAN}
    grown = next(one for one in found if one.kind == "grown_50")
    assert grown.after.shape.volume_mm3 == pytest.approx(1.5 * grown.before.shape.volume_mm3)
    usual = inserted.planned([], float("nan"), tissue_hu=50.0, lod_mm3=10.0)
    assert {one.before.hu for one in usual if one.before is not None} == {50.0 + inserted.DENSE_HU}


def test_places_are_clear_of_everything_and_of_each_other():
    """No lesion is nearer to skin, bone, the field's end or another than it may be; without room none is put in."""
    base = baseline()
    clear = inserted.clearance_mm(base.scan, base.found, base.scan.array, np.zeros(base.mineral.shape, bool))
    wanted = inserted.planned([40.0], 500.0, tissue_hu=55.0, lod_mm3=8.0)
    found = inserted.placed(base.scan, wanted, clear, np.random.default_rng(0))
    assert 4 <= len(found) <= len(wanted)
    centres = np.array([one.centre_mm for one in found])
    radii = np.array([one.radius_mm for one in found])
    skin = made.SKIN_MM - np.hypot(centres[:, 0], centres[:, 1])
    bone = np.hypot(*(centres[:, :2] - made.BONE_AT).T) - made.BONE_MM
    assert (skin - radii > inserted.SKIN_MM - 1.5).all()
    assert (bone - radii > inserted.BONE_MM - 1.5).all()
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2) - radii[:, None] - radii
    assert gaps[~np.eye(len(found), dtype=bool)].min() > inserted.APART_MM - 1.0
    assert inserted.placed(base.scan, wanted, np.full_like(clear, -1.0), np.random.default_rng(0)) == []


def test_the_visits_are_the_baseline_and_the_same_moved(tmp_path):
    """Outside what is put in the first visit is the baseline bit for bit; the others have the noise that was told."""
    base = baseline()
    said = visits.make(tmp_path, base, np.zeros(base.mineral.shape, bool), np.random.default_rng(2))
    rows = pd.read_csv(tmp_path / "visits.csv")
    assert rows["visit_id"].tolist() == [visits.BEFORE, *visits.SITUATIONS] == [visits.BEFORE, *said.situations]
    assert rows["slice_thickness_mm"].tolist()[-1] == 3.0
    assert rows["baseline"].tolist() == [1, 0, 0, 0, 0]
    first = sitk.ReadImage(str(tmp_path / "before.nrrd"))
    changed = grid.array(first) != base.scan.array
    places = grid.to_mm(first, np.argwhere(changed))
    there = [one for one in said.lesions if one.before is not None]
    away = np.stack([np.linalg.norm(places - one.centre_mm, axis=1) - one.radius_mm for one in there])
    assert changed.any()
    assert away.min(axis=0).max() < 6.0
    added = (grid.array(first).astype(float) - base.scan.array).sum() * base.scan.voxel_volume_mm3
    assert added == pytest.approx(sum(one.excess_hu_mm3 for one in said.before), rel=0.01)
    inner = base.found.body & ~base.found.skeleton
    inner &= grid.within_mm(inner, base.scan.spacing_zyx_mm) > 5.0
    for name, factor in (("rescan", 1.0), ("noise", visits.NOISIER)):
        values = grid.array(sitk.ReadImage(str(tmp_path / f"{name}.nrrd")))
        sd = noises.measure_noise(values, inner, base.scan.spacing_zyx_mm)[0]
        assert sd == pytest.approx(factor * base.found.noise_hu, rel=0.08), name
    other = grid.array(sitk.ReadImage(str(tmp_path / "rescan.nrrd"))).astype(float)
    assert np.corrcoef(other[inner], base.scan.array[inner])[0, 1] < 0.9
    assert sitk.ReadImage(str(tmp_path / "slices.nrrd")).GetSize()[2] == 20


def test_a_follow_up_is_the_baseline_moved_and_goes_on_beyond_the_field():
    """Closed form: shifted by a slice each voxel is its neighbour's, and beyond the end the last slice goes on."""
    base = baseline()
    values = base.scan.array.astype(np.float32)
    shift = np.array([0.0, 0.0, -1.5 * 2])
    motion = Motion(np.eye(3), shift, 1.0, None, None, lambda points: np.zeros(points[0].shape))
    moved, mask, weight = visits.pulled(base.scan, motion, values, base.found.skeleton, values / 1000)
    assert np.abs(moved[:-2] - values[2:]).max() < 0.05
    assert np.abs(moved[-2:] - values[-1]).max() < 0.05
    assert (mask[:-2] == base.found.skeleton[2:]).all()
    assert np.abs(weight[:-2] - values[2:] / 1000).max() < 1e-4


def test_nothing_swings_beside_gas():
    """Where slices jump from gas to tissue no tissue becomes denser than it was: it would pass for mineral."""
    scan = made.limb(noise_hu=0.0, bone=False)
    values = np.full(scan.array.shape, 50.0, np.float32)
    values[:10] = -1000.0
    shift = np.array([0.0, 0.0, 0.75])
    motion = Motion(np.eye(3), shift, 1.0, None, None, lambda points: np.zeros(points[0].shape))
    (moved,) = visits.pulled(scan, motion, values)
    assert moved.max() <= 50.0
    assert moved.min() >= -1000.0
    assert -900.0 < moved[10, 40, 40] < 0.0


def test_the_noise_around_what_is_put_in_is_another(tmp_path):
    """Independence: in even muscle the two visits' noise is not alike where lesions are measured."""
    base = baseline(bone=False)
    values = base.scan.array.astype(np.float32)
    clean = visits.without_noise(values, base.found.noise_hu, base.scan.spacing_zyx_mm)
    inner = np.zeros(values.shape, bool)
    inner[5:-5, 35:60, 30:50] = True
    assert np.std(clean[inner]) < 0.3 * np.std(values[inner])
    assert np.abs(clean[inner].mean() - values[inner].mean()) < 0.5
    edge = np.abs(np.diff(base.scan.array[20].astype(float), axis=0)).max(axis=1).argmax()
    assert np.abs(clean[20, edge] - values[20, edge]).max() < 4 * base.found.noise_hu


def test_grain_is_that_of_the_scan():
    """Closed form: noise that was smoothed with an SD of s voxels is told to have that grain, and drawn so."""
    rng = np.random.default_rng(1)
    grain = visits.Grain(0.8, 1.0)
    drawn = grain.draw((20, 120, 120), rng)
    assert np.std(drawn) == pytest.approx(1.0, rel=0.02)
    body = np.ones(drawn.shape, bool)
    scan = made.scan_of(50 + 20 * drawn, (1.0, 1.0, 1.5))
    found = Anatomy(body, ~body, ~body, 20.0, 50.0, np.full((1, 1, 1), 20.0))
    assert visits.Grain.of(scan, found).plane == pytest.approx(0.8, rel=0.15)


def story(changes: list[dict], lesions: list[dict], folder: Path) -> Results:
    """Return results of a selftest as far as they are judged, without label images."""
    empty = {"visits": pd.DataFrame({"visit_id": ["rescan"], "registration": ["rigid"]})}
    columns = ["visit_id", "lesion_id", "status", "volume_mm3", "excess_hu_mm3"]
    return Results(
        folder,
        {
            **empty,
            "refused": pd.DataFrame(columns=["visit_id", "message"]),
            "lesions": pd.DataFrame(lesions, columns=columns),
            "changes": pd.DataFrame(changes),
        },
        {},
    )


def compared(lesion: int, change: float, detectable: float, verdict: str = "no_detectable_change") -> list[dict]:
    about = {"comparison": "baseline", "from_visit": "before", "to_visit": "rescan", "lesion_id": lesion}
    amounts = {"before": 100.0, "after": 100.0 + change, "change": change, "detectable": detectable}
    return [{**about, **amounts, "verdict": verdict, "quantity": name} for name in judged.QUANTITIES]


def truth(volume: float) -> Painted:
    return Painted(volume, 400.0 * volume, np.zeros((1, 3))) if volume else NOTHING


@pytest.mark.parametrize(
    ("before", "after", "first", "then", "called", "right"),
    [
        (100.0, 100.0, 1, 1, "no_detectable_change", True),
        (100.0, 150.0, 2, 2, "increased", True),
        (100.0, 120.0, 1, 1, "no_detectable_change", False),
        (100.0, 100.0, 2, 2, "increased", False),
        (100.0, 0.0, 3, None, "decreased", True),
        (0.0, 100.0, None, 4, "new", True),
        (0.0, 100.0, None, None, None, False),
        (100.0, 100.0, None, None, None, None),
        (100.0, 100.0, None, 4, "new", False),
        (100.0, 150.0, None, 4, "new", False),
    ],
)
def test_what_is_right(before, after, first, then, called, right, tmp_path, monkeypatch):  # noqa: PLR0913
    """Every case of truth against what was said: called, missed, false, and nothing said of nothing."""
    changes = [*compared(1, 5.0, 20.0), *compared(2, 50.0, 20.0, "not_comparable"), *compared(3, -100.0, 20.0)]
    lesions = [("before", number, "baseline", 100.0, 4e4) for number in (1, 2, 3)]
    lesions += [("rescan", number, "stable", 105.0, 4e4) for number in (1, 2)] + [("rescan", 4, "new", 90.0, 4e4)]
    found = story(changes, lesions, tmp_path)
    monkeypatch.setattr(judged, "_lesion_at", lambda _, __, visit, one: first if visit == "before" else then)
    one = Inserted("any", None, None, np.zeros(3), np.eye(3))
    table = judged.judged(Made([one], [truth(before)], [truth(after)], ["rescan"]), found, "P001")
    row = table.iloc[0]
    assert (None if pd.isna(row["called"]) else row["called"]) == called
    assert (None if pd.isna(row["right"]) else bool(row["right"])) is right
    own = table[table["lesion"] == judged.OWN]
    assert len(own) == 3 - (first is not None)
    assert (table["lesion"] == judged.NOWHERE).sum() == (then != 4)


def test_an_unchanged_lesion_drawn_on_other_voxels_has_not_changed(tmp_path, monkeypatch):
    """Invariance: what differs by 1 % because it lies on other voxels counts as unchanged."""
    monkeypatch.setattr(judged, "_lesion_at", lambda *_: 1)
    found = story(compared(1, 5.0, 20.0), [("before", 1, "baseline", 100.0, 4e4)], tmp_path)
    two = Painted(100.0, 40400.0, np.zeros((1, 3)))
    one = Inserted("unchanged", None, None, np.zeros(3), np.eye(3))
    row = judged.judged(Made([one], [truth(100.0)], [two], ["rescan"]), found, "P001").iloc[0]
    assert row["excess_true_change_hu_mm3"] == 0
    assert row["excess_right"]


@pytest.fixture
def own_results(limb_study, limb_results, tmp_path) -> Path:
    """Return a copy of the limb's results that may be written to."""
    shutil.copytree(limb_results.folder, tmp_path / "results", copy_function=shutil.copy2)
    return tmp_path / "results"


def every_file(folder: Path) -> dict[str, bytes]:
    """Return what is published, by path."""
    there = [folder / "run.json", *(folder / "tables").rglob("*"), *(folder / "images").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in there if path.is_file()}


WRITTEN = {"tables/selftest.csv", "tables/selftest.parquet"}
"""What a selftest may write."""


def changed_of(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def test_who_cannot_be_tested_is_named(own_results, monkeypatch):
    """A baseline without room is a row with the reason; the other tables and the work folder stay as they were."""
    before = every_file(own_results)
    parts = {path.name for path in (own_results / store.WORK).iterdir()}
    monkeypatch.setattr(inserted, "placed", lambda *_: [])
    table = selftest.selftest(own_results)
    assert table["why"].str.contains("4 lesions must fit in even soft tissue .*; there is room for 0").all()
    assert len(table) == 1
    assert changed_of(before, every_file(own_results)) == WRITTEN
    assert {path.name for path in (own_results / store.WORK).iterdir()} == parts


def test_a_changed_baseline_is_not_tested(own_results, limb_study, tmp_path):
    """Another scan in the baseline's place is no longer what was measured."""
    shutil.copytree(limb_study, tmp_path / "study")
    visit = pd.read_csv(tmp_path / "study" / "visits.csv")["path"].iloc[0]
    max((tmp_path / "study" / visit).iterdir()).unlink()
    table = selftest.selftest(own_results, study=tmp_path / "study")
    assert "run again" in table["why"].iloc[0]


def test_an_unknown_patient_and_an_unknown_study_are_told(own_results):
    """The messages name what came and what to do."""
    with pytest.raises(StudyError, match="--patient must be a patient_id of the results; 'P9' is not among them"):
        selftest.selftest(own_results, patient="P9")
    (own_results / store.WORK / store.STUDY).unlink()
    with pytest.raises(StoreError, match=r"must know the study .* name it \(--study\)"):
        selftest.selftest(own_results)


@pytest.mark.slow
def test_the_whole_line_is_tested_on_a_patient(own_results, limb_results, limb_study, tmp_path):
    """End to end: every kind is there, growth by half is called, what is unchanged is not; nothing else moves."""
    before = every_file(own_results)
    lod_mm3 = limb_results.tables["visits"]["lod_mm3"].iloc[0]
    told: list[tuple[int, int, str]] = []
    table = selftest.selftest(own_results, progress=lambda *said: told.append(said))
    assert told[-1][:2] == (selftest.PARTS, selftest.PARTS)
    assert set(table["situation"]) == set(visits.SITUATIONS)
    again = table[table["situation"] == "rescan"]
    assert {kind for kind, _ in inserted.PLAN} | {judged.OWN} <= set(again["lesion"])
    assert again.loc[again["lesion"] == "grown_50", "right"].all()
    assert again.loc[again["lesion"].isin(["unchanged", "own"]), "right"].dropna().all()
    # In this noise (43 HU) a lesion of twice the limit of detection may pass for a streak.
    large = again[["true_before_mm3", "true_after_mm3"]].max(axis=1) > 3 * inserted.NEAR_LIMIT * lod_mm3
    assert again.loc[large & again["lesion"].isin(["new", "dissolved"]), "right"].sum() == 2
    after = every_file(own_results)
    changed = changed_of(before, after)
    assert changed == WRITTEN
    assert set(before) == set(after)
    for name in changed:
        content = after[name]
        assert str(limb_study).encode() not in content
        assert str(tmp_path).encode() not in content
    assert not list((own_results / store.WORK).glob(f"{store.PART}*"))
    pipeline.follow(limb_study, own_results)
    assert {name: every_file(own_results)[name] for name in changed} == {name: after[name] for name in changed}
    selftest.selftest(own_results)
    assert {name: every_file(own_results)[name] for name in changed} == {name: after[name] for name in changed}
