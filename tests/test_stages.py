"""What is done to one visit, and what the earliest visit says of its skeleton."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from monitor import check, grid, pipeline, scan, stages, study
from monitor.types import ScanError
from tests.test_check import study_of
from tests.test_scan import limb


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


def test_parameters_name_every_threshold() -> None:
    """run.json holds the named constants of the steps."""
    named = stages.parameters()
    assert named["lesions.NOISE_FACTOR"] == 4.3
    assert named["burden.MARGIN_MM"] == 2.5
