"""What is done to one visit, and what the earliest visit says of its skeleton."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from monitor import check, grid, lesions, pipeline, scan, stages, store, study
from monitor.types import Reason, Registration, RegistrationError, ScanError
from tests.test_check import study_of
from tests.test_scan import limb
from tests.test_structures import nodules


def test_the_key_follows_what_the_study_says(limb_study: Path) -> None:
    """A visit's hash changes with its acquisition and its input bytes, and with nothing else."""
    visits = study.read_study(limb_study).patients[0].visits
    one, two = visits[0], visits[1]
    stated = dataclasses.replace(one, acquisition=dataclasses.replace(one.acquisition, kvp=80.0))
    assert stages.key_of(one) == stages.key_of(one)
    assert len({stages.key_of(one), stages.key_of(two), stages.key_of(stated)}) == 3


@pytest.mark.parametrize("mask", study.MASKS)
def test_a_bad_mask_refuses_its_scan(tmp_path: Path, mask: str) -> None:
    """A mask on another grid, whichever pass needs it, is a row of ``refused`` and no fault; so says ``check``."""
    folder = study_of(tmp_path / "study", a={})
    image = scan.read(folder / "a").image
    sitk.WriteImage(image[1:] > 0, str(folder / "mask.nii.gz"))
    pd.read_csv(folder / "visits.csv").assign(**{mask: "mask.nii.gz"}).to_csv(folder / "visits.csv", index=False)
    ran, checked = pipeline.follow(folder).tables["refused"], check.check(folder).refused
    assert ran["code"].tolist() == ["mask-grid"]
    pd.testing.assert_frame_equal(ran, checked)


def test_masks_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    """Only those that the study names: "is not 0", and compartments as the numbers that a reader gave."""
    (visit,) = study.read_study(study_of(tmp_path, a={})).patients[0].visits
    image = stages.load(visit)
    assert stages.read_masks(visit, image) == {}
    given = np.arange(image.array.size).reshape(image.array.shape) % 5
    path = tmp_path / "mask.nii.gz"
    sitk.WriteImage(grid.image_like(given.astype(np.uint8), image.image), str(path))
    found = stages.read_masks(dataclasses.replace(visit, lesion_mask=path, compartment_mask=path), image)
    assert list(found) == ["lesion_mask", "compartment_mask"]
    assert found["lesion_mask"].dtype == bool
    assert np.array_equal(found["lesion_mask"], given > 0)
    assert np.array_equal(found["compartment_mask"], given)


def test_a_header_that_ends_its_reader_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be read whose scan it is, a run and ``check`` go on with the voxels that could."""
    folder = study_of(tmp_path, a={})
    (visit,) = study.read_study(folder).patients[0].visits
    unit = stages.Unit(visit, tmp_path, stages.key_of(visit))
    stages.look(unit)

    def ends(*_: object) -> None:
        raise ScanError("reader-ended", "the system ended it")

    monkeypatch.setattr(scan, "person", ends)
    assert check.check(folder).visits["visit_id"].tolist() == ["a"]
    found = stages.entry(unit, b"key")
    assert found.person == scan.Person()
    assert len(found.slices) == len(limb())


@pytest.mark.parametrize("asked", [True, False])
def test_what_was_left_out_is_kept_drawn_and_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """Reasons are published on the scan's grid and counted in qc.json; without them there is no file."""
    folder, image = nodules(tmp_path / "study")
    reasons = np.zeros(image.array.shape, np.uint8)
    reasons[3:5, 4:6, 7:8], reasons[9, 9, 9] = Reason.NOISE, Reason.FIELD_EDGE
    find = lesions.find
    kept = reasons if asked else None
    monkeypatch.setattr(lesions, "find", lambda *args, **how: dataclasses.replace(find(*args, **how), left_out=kept))
    (visit,) = study.read_study(folder).patients[0].visits
    unit = stages.Unit(visit, tmp_path, stages.key_of(visit))
    stages.look(unit)
    own = stages.place(unit, unit)
    done = stages.measure(own, own)
    nothing = pd.DataFrame(columns=["lesion_id", "label", "x_mm", "y_mm", "z_mm"])
    framed = pd.DataFrame(columns=[*nothing.columns, "half_width_mm"])
    files = stages.published(done, stages.picture(unit, unit, done, nothing, framed))
    said = json.loads(files["qc.json"].read_text())["left_out"]
    assert ("left_out.nii.gz" in files) == asked
    if not asked:
        assert said is None
        return
    assert np.array_equal(grid.array(store.read_labels(files["left_out.nii.gz"])), reasons)
    assert said["noise"] == {"pieces": 1, "mm3": pytest.approx(4 * 1.5)}
    assert said["field_edge"]["pieces"] == 1
    assert said["bone"] == {"pieces": 0, "mm3": 0.0}


def test_lesions_are_drawn_in_the_frame_of_the_reference(tmp_path: Path) -> None:
    """A picture for each lesion that is known, there or not; none without a place, and qc.json says which and whose."""
    folder, _ = nodules(tmp_path / "study")
    (visit,) = study.read_study(folder).patients[0].visits
    unit = stages.Unit(visit, tmp_path, stages.key_of(visit))
    stages.look(unit)
    own = stages.place(unit, unit)
    done = stages.measure(own, own)
    nothing = pd.DataFrame(columns=["lesion_id", "label", "x_mm", "y_mm", "z_mm"])
    framed = pd.DataFrame(
        {"lesion_id": [2, 7], "label": pd.array([1, None], "Int64"), "x_mm": 1.0, "y_mm": 2.0, "z_mm": 3.0}
    ).assign(half_width_mm=15.0)
    for table, names in ((framed, ["frame_0002.png", "frame_0007.png"]), (framed.iloc[:0], [])):
        files = stages.published(done, stages.picture(unit, unit, done, nothing, table))
        assert sorted(name for name in files if name.startswith("frame_")) == names
        said = json.loads(files["qc.json"].read_text())
        assert said["reference_visit_id"] == visit.visit_id
        assert [f"frame_{lesion:04d}.png" for lesion in said["frames"]] == names
        assert not grid.array(store.read_labels(files["lesions.nii.gz"])).any()


def test_parameters_name_every_threshold() -> None:
    """run.json holds the named constants of the steps."""
    named = stages.parameters()
    assert named["lesions.NOISE_FACTOR"] == 4.3
    assert named["burden.MARGIN_MM"] == 2.0
    assert named["lesions.apart.SADDLE"] == 0.7


def test_parameters_are_numbers_and_words() -> None:
    """What only this program can read names places of a machine, and differs from run to run."""
    told = json.dumps(stages.parameters(), default=repr)
    assert " at 0x" not in told
    assert "<module" not in told


def test_thresholds_of_parts_are_named_too() -> None:
    """What registration takes for believable stands in the record of a run."""
    assert stages.parameters()["registration.trust.MOST_GAP_MM"] == 3.0
    assert stages.parameters()["describe.tissue.SKIN_MM"] == 3.0


def moved(by_mm: float, residual_mm: float) -> Registration:
    """Return a shift along x."""
    matrix = np.eye(4)
    matrix[0, 3] = by_mm
    return Registration(matrix, residual_mm=residual_mm, residual_hi_mm=2 * residual_mm, method="shift")


@pytest.fixture
def three(tmp_path: Path, limb_study: Path) -> list[stages.Placed]:
    """Return the reference, a visit between that is well placed, and a last one whose own way is in doubt."""
    visit = study.read_study(limb_study).patients[0].visits[0]
    units = [stages.Unit(dataclasses.replace(visit, visit_id=f"V{n}"), tmp_path, f"unit{n}") for n in range(3)]
    placed = [stages.Placed(units[0], units[0], folder=None)]
    for unit, residual_mm in ((units[1], 0.3), (units[2], 2.0)):
        found = moved(1.0, residual_mm)
        folder = store.finish(
            tmp_path, f"place-{unit.key}", functools.partial(store.write_transform, registration=found)
        )
        placed.append(stages.Placed(unit, units[0], folder, parts=(folder.name,)))
    return placed


def test_only_what_is_uncertain_or_refused_is_in_doubt(three: list[stages.Placed]) -> None:
    """The reference and a well placed visit keep their way."""
    refused = dataclasses.replace(three[1], refused="no")
    assert [stages.doubtful(one) for one in [*three, refused]] == [False, False, True, True]


@pytest.mark.parametrize(
    ("residual_mm", "shift_mm", "way"),
    [(0.4, 6.0, "through V1: shift"), (3.0, 1.0, "shift")],
    ids=["nearer", "farther"],
)
def test_the_nearer_way_is_kept(
    three: list[stages.Placed], monkeypatch: pytest.MonkeyPatch, residual_mm: float, shift_mm: float, way: str
) -> None:
    """Through the visit before where that residual is smaller, 0.3 and 0.4 make 0.5 mm; else as it was."""
    monkeypatch.setattr(stages, "_registered", lambda fixed, moving: moved(5.0, residual_mm))
    found = stages.relay(three[2], three[1])
    assert found.registration().from_baseline(np.zeros((1, 3)))[0, 0] == shift_mm
    assert found.registration().method == way
    assert found.registration().residual_mm == pytest.approx(0.5 if way != "shift" else 2.0)
    assert set(three[2].parts) < set(found.parts)


def test_a_refused_visit_is_placed_through_its_neighbour(
    three: list[stages.Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its own way was not believable; where that through the neighbour is not either, it stays refused."""
    refused = dataclasses.replace(three[2], refused="registered bodies must correlate")
    monkeypatch.setattr(stages, "_registered", lambda fixed, moving: moved(5.0, 0.4))
    assert not stages.relay(refused, three[1]).refused
    other = dataclasses.replace(refused, unit=dataclasses.replace(refused.unit, key="another"))

    def fails(fixed: stages.Unit, moving: stages.Unit) -> Registration:
        raise RegistrationError("no")

    monkeypatch.setattr(stages, "_registered", fails)
    assert stages.relay(other, three[1]).refused == refused.refused
