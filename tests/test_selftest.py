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
from monitor._selftest.visits import Baseline
from monitor.errors import StoreError, StudyError
from monitor.phantom.motion import Motion
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
