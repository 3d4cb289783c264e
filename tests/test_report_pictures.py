"""Which pictures a report shows, and how they get into it."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from monitor import store
from monitor.export import report_pictures, story
from tests.dashboard.made import write_results
from tests.made_report import png

FRAMES = {f"P001/V{visit}/frame_{lesion:04d}.png": png(608, 220) for visit in range(1, 6) for lesion in (1, 2, 3)}
SLICES = {f"P001/V{visit}/lesion_{lesion:04d}.png": png(500, 530) for visit in range(1, 6) for lesion in (1, 2, 3)}


@pytest.fixture
def published(tmp_path):
    """Return a function that publishes made-up results with some pictures, and returns folder and patient."""

    def make(pictures):
        folder = write_results(tmp_path / "results", pictures, more_patients=0)
        return folder, story.patient(store.read_results(folder).tables, "P001")

    return make


def test_frames_show_the_largest_lesions_over_the_visits(published):
    """The largest first, the first and the last visit among those shown; each picture has its words."""
    rows = report_pictures.framed(*published({**FRAMES, **SLICES}))
    assert rows[0].title.startswith("Lesion 1")
    assert len(rows) == report_pictures.FRAMED_LESIONS
    assert len(rows[0].pictures) == report_pictures.FRAMED_VISITS
    assert [rows[0].pictures[place].caption.split(",")[0] for place in (0, -1)] == [
        "Lesion 1 at V1",
        "Lesion 1 at V5",
    ]
    assert all("resampled" in picture.alt for row in rows for picture in row.pictures)


def test_without_frames_slices_stand_for_them(published):
    """Results of an older version have native slices alone."""
    folder, one = published(SLICES)
    assert report_pictures.framed(folder, one) == []
    shown = report_pictures.pictures(folder, one)
    assert len(shown) == report_pictures.LESION_PICTURES
    assert all(picture.alt.startswith("Axial slice") for picture in shown)


def test_a_pair_is_the_baseline_and_the_latest(published):
    """What the one page shows of the lesion that changed most."""
    folder, one = published(FRAMES)
    pair = report_pictures.first_and_last(folder, one, 1, "V2")
    assert [picture.caption.split(",")[0] for picture in pair] == ["Lesion 1 at V2", "Lesion 1 at V5"]
    assert report_pictures.first_and_last(folder, one, 999, "V2") == []


def test_a_large_picture_is_made_smaller_and_a_broken_one_left_out(published):
    """A report stays small, and one bad file does not take it away."""
    rng = np.random.default_rng(1)
    noise = BytesIO()
    Image.fromarray(rng.integers(0, 255, (900, 900, 3), np.uint8)).save(noise, "PNG")
    pictures = {"P001/V1/lesion_0001.png": noise.getvalue(), "P001/V5/lesion_0001.png": b"no picture"}
    (shown,) = report_pictures.pictures(*published(pictures))
    assert shown.src.startswith("data:image/jpeg;base64,")
    assert len(shown.src) < len(noise.getvalue())
