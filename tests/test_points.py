"""Points carried by published results."""

from __future__ import annotations

import numpy as np
import pytest

from monitor import points, store
from monitor.types import StudyError


def test_the_baseline_is_mapped_onto_itself(limb_results: store.Results) -> None:
    """Invariance: points of the baseline stay where they are."""
    own = np.array([[1.0, 2.0, 3.0], [40.0, -10.0, 20.0]])
    patient = str(limb_results.tables["visits"]["patient_id"].iloc[0])
    assert np.allclose(points.carry(limb_results.folder, patient, "V0", own), own, atol=1e-6)


def test_an_unknown_visit_is_named(limb_results: store.Results) -> None:
    """The message lists the visits there are."""
    patient = str(limb_results.tables["visits"]["patient_id"].iloc[0])
    with pytest.raises(StudyError, match="V0, V1, V2"):
        points.carry(limb_results.folder, patient, "V7", np.zeros((1, 3)))
