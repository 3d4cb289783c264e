"""Where a piece lies: depths in closed form, contact with bone, compartments by majority."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monitor import anatomy, lesions
from monitor.describe import COLUMNS, describe
from monitor.types import Anatomy, Findings, Scan
from tests.made import SKIN_MM, Ball, limb, scan_of, within


def slab(labels: np.ndarray, *, skeleton: np.ndarray | None = None, body: np.ndarray | None = None) -> tuple:
    """Return scan, anatomy and findings of 1 mm voxels; all is body unless said otherwise."""
    one = scan_of(np.full(labels.shape, 50.0), (1.0, 1.0, 1.0))
    none = np.zeros(labels.shape, bool)
    known = Anatomy(
        ~none if body is None else body, none if skeleton is None else skeleton, none, 10.0, 50.0, np.ones((1, 1, 1))
    )
    return one, known, Findings(labels.astype(np.int32), 130.0, 8.0)


def boxes() -> np.ndarray:
    labels = np.zeros((10, 20, 20), int)
    labels[4:6, 4:6, 4:6] = 1
    labels[4:6, 12:14, 12:14] = 2
    return labels


def test_no_piece_gives_an_empty_table():
    """All columns are there, and can be merged by label."""
    found = describe(*slab(np.zeros((4, 5, 6))))
    assert found.columns.tolist() == COLUMNS
    assert len(found) == 0
    assert found["label"].dtype == int


@pytest.mark.parametrize("radius_mm", [8.0, 16.0, 22.0])
def test_the_depth_below_the_skin(radius_mm):
    """Closed form: a ball off the axis of a cylinder lies as deep as the skin is beyond its centre."""
    ball = Ball((radius_mm, 0.0, 0.0), 4.0)
    one: Scan = limb([ball], bone=False)
    known = anatomy.find(one)
    found = describe(one, known, lesions.find(one, known))
    # Averaged over the ball it is a little less deep: the radius of a point is never less than its x.
    assert found["depth_mm"].tolist() == pytest.approx([SKIN_MM - radius_mm], abs=1.0)


def test_the_ends_of_the_field_are_no_skin():
    """Depth is counted within the slices: the body goes on beyond the first and last one."""
    labels = np.zeros((5, 30, 30), int)
    labels[0, 14:16, 14:16] = 1
    assert describe(*slab(labels))["depth_mm"].tolist() == pytest.approx([15.0], abs=1.0)


@pytest.mark.parametrize(("gap", "contact"), [(0, True), (1, True), (3, False), (8, False)])
def test_contact_with_bone(gap, contact):
    """A piece touches bone where nothing lies between, or less than the blur can show."""
    labels = np.zeros((6, 20, 30), int)
    labels[2:4, 8:12, 8:12] = 1
    bone = np.zeros(labels.shape, bool)
    bone[:, :, 12 + gap : 18 + gap] = True
    assert describe(*slab(labels, skeleton=bone))["bone_contact"].tolist() == [contact]


def test_without_bone_there_is_no_contact():
    """No skeleton, no contact."""
    assert describe(*slab(boxes()))["bone_contact"].tolist() == [False, False]


def test_the_compartment_that_covers_most_names_a_piece():
    """The number with most voxels wins; where only 0 lies, the compartment is unknown, as is the side."""
    labels = boxes()
    compartments = np.zeros(labels.shape, np.uint16)
    compartments[4, 4:6, 4:6] = 2
    compartments[5, 4, 4:6] = 700
    found = describe(*slab(labels), compartments)
    assert found["compartment"].tolist() == ["2", ""]
    assert describe(*slab(labels))["compartment"].tolist() == ["", ""]
    assert found["side"].tolist() == ["", ""]


def test_a_row_a_piece_in_order_of_labels():
    """Invariance: numbered the other way round, the same pieces have the same descriptions."""
    ball = within(limb(), (0.0, 0.0, 0.0), 20.0)[:10, :20, :20]
    body = ndimage.binary_dilation(ball | (boxes() > 0), iterations=3)
    one = describe(*slab(boxes(), body=body))
    two = describe(*slab((3 - boxes()) * (boxes() > 0), body=body))
    assert one["label"].tolist() == two["label"].tolist() == [1, 2]
    assert one["depth_mm"].tolist() == two["depth_mm"].tolist()[::-1]
