"""What is done to one visit, and what the earliest visit says of its skeleton."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from monitor import stages, study


def test_the_key_follows_what_the_study_says(limb_study: Path) -> None:
    """A visit's hash changes with its acquisition and its input bytes, and with nothing else."""
    visits = study.read_study(limb_study).patients[0].visits
    one, two = visits[0], visits[1]
    stated = dataclasses.replace(one, acquisition=dataclasses.replace(one.acquisition, kvp=80.0))
    assert stages.key_of(one) == stages.key_of(one)
    assert len({stages.key_of(one), stages.key_of(two), stages.key_of(stated)}) == 3


def test_parameters_name_every_threshold() -> None:
    """run.json holds the named constants of the steps."""
    named = stages.parameters()
    assert named["lesions.NOISE_FACTOR"] == 4.3
    assert named["burden.MARGIN_MM"] == 2.5
