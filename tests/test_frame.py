"""Pictures in the common frame: the same place at every visit, outlined where it is, and honest about the rest."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from monitor import figures, grid
from monitor._figures import frame, ink
from monitor.types import Registration

CENTRE_MM = np.array([10.0, -20.0, 30.0])
RADIUS_MM = 6.0
HALF_MM = 20.0
PIXEL_MM = 2 * HALF_MM / frame.PIXELS


def turned(degrees: float, shift_mm: tuple[float, float, float]) -> Registration:
    """Return a rotation about z and a shift, frame to visit."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift_mm
    return Registration(matrix=matrix)


def visited(way: Registration, *, ball: bool = True, size: tuple[int, int, int] = (90, 80, 50)) -> figures.Visited:
    """Return a scan with a ball around ``CENTRE_MM`` of the frame (1), a small one left, behind and above it (2)."""
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing((0.8, 0.8, 1.5))
    there = way.from_baseline(np.array([CENTRE_MM, CENTRE_MM + 11.0]))
    image.SetOrigin(
        [float(c - 0.5 * (n - 1) * s) for c, n, s in zip(there[0], (90, 80, 50), (0.8, 0.8, 1.5), strict=True)]
    )
    points = grid.to_mm(image, np.indices(size[::-1]).reshape(3, -1).T)
    away = [np.linalg.norm(points - one, axis=1).reshape(size[::-1]) for one in there]
    lesions = np.where(away[0] < RADIUS_MM, int(ball), np.where(away[1] < 4.0, 2, 0))
    hu = np.choose(lesions, [40, 500, 900]).astype(np.int16)
    return figures.Visited(grid.image_like(hu, image), lesions, None, way.from_baseline)


def drawn(one: figures.Visited, **changes: object) -> bytes:
    """Return the picture of lesion 1."""
    how = {"centre_mm": CENTRE_MM, "half_width_mm": HALF_MM, "reference_visit_id": "V1", **changes}
    return figures.frame_picture(one, 1, **how)


def planes(png: bytes) -> list[np.ndarray]:
    """Return RGB, 0 to 1, of the three planes."""
    rgb = np.asarray(Image.open(BytesIO(png)).convert("RGB")) / 255.0
    step = frame.PIXELS + frame.GAP
    return [rgb[: frame.PIXELS, n * step : n * step + frame.PIXELS] for n in range(3)]


def orange(rgb: np.ndarray) -> np.ndarray:
    """Tell where the lesion's own line is."""
    return np.abs(rgb - np.array(to_rgb(ink.LESION_COLOUR))).max(axis=-1) < 0.2


def blue(rgb: np.ndarray) -> np.ndarray:
    """Tell where others' line is."""
    return np.abs(rgb - np.array(to_rgb(ink.OTHER_COLOUR))).max(axis=-1) < 0.25


WAYS = (Registration.identity(), turned(0.0, (14.0, -9.0, 25.0)), turned(35.0, (-50.0, 3.0, 8.0)))


@pytest.mark.parametrize("way", WAYS)
def test_the_lesion_stands_in_the_middle_at_every_visit(way: Registration) -> None:
    """Truth: the outline of a ball is a circle of its radius about the middle of all three planes, within a pixel."""
    for rgb in planes(drawn(visited(way))):
        rows, columns = np.nonzero(ndimage.binary_fill_holes(orange(rgb)))
        assert rows.mean() + 0.5 == pytest.approx(frame.PIXELS / 2, abs=1.0)
        assert columns.mean() + 0.5 == pytest.approx(frame.PIXELS / 2, abs=1.0)
        across = 2 * RADIUS_MM / PIXEL_MM
        assert np.ptp(rows) == pytest.approx(across, abs=1.5 / PIXEL_MM)
        assert np.ptp(columns) == pytest.approx(across, abs=1.0 / PIXEL_MM)


@pytest.mark.parametrize("way", WAYS[1:])
def test_all_visits_show_the_same_points(way: Registration) -> None:
    """Invariance: a patient who was moved gives the same picture, but for the grid's steps at edges."""
    one, two = (planes(drawn(visited(each))) for each in (WAYS[0], way))
    for first, second in zip(one, two, strict=True):
        assert np.mean(np.abs(first - second).max(axis=-1) > 0.25) < 0.03


def test_left_behind_and_above_are_where_the_letters_say() -> None:
    """What lies left, behind and above the lesion is right and down, right and up, right and up of it."""
    one = visited(WAYS[0])
    middle = frame.PIXELS / 2
    aside = [np.array([0.0, 0.0, 11.0]), np.array([0.0, 11.0, 0.0]), np.array([11.0, 0.0, 0.0])]
    for number, (offset, down) in enumerate(zip(aside, (1, -1, -1), strict=True)):
        rgb = planes(drawn(one, centre_mm=CENTRE_MM + offset))[number]
        rows, columns = np.nonzero(blue(rgb))
        found = [(along.min() + along.max() + 1) / 2 - middle for along in (columns, rows)]
        assert found == pytest.approx([11.0 / PIXEL_MM, down * 11.0 / PIXEL_MM], abs=4)
    assert [sides for _, sides, *_ in frame.PLANES] == ["RLAP", "RLHF", "APHF"]


def test_equal_values_give_equal_bytes_and_few() -> None:
    """A picture hangs on its values alone, and fifty lesions at eight visits are no burden even of pure noise."""
    one = visited(WAYS[2])
    hu = grid.array(one.image) + np.random.default_rng(5).normal(0, 20, one.lesions.shape)
    noisy = figures.Visited(grid.image_like(hu.astype(np.int16), one.image), one.lesions, None, one.to_visit)
    first, second = drawn(noisy), drawn(noisy)
    assert first == second
    assert len(first) < 80_000
    assert b"Software" not in first


def test_the_size_is_that_of_three_planes_and_a_strip() -> None:
    """Three planes beside each other, and the badge below in the lesion's colour."""
    rgb = np.asarray(Image.open(BytesIO(drawn(visited(WAYS[0])))).convert("RGB")) / 255.0
    assert rgb.shape == (frame.PIXELS + frame.STRIP, 3 * frame.PIXELS + 2 * frame.GAP, 3)
    assert orange(rgb[frame.PIXELS :]).sum() > 800


def test_the_badge_names_the_visit_and_a_long_name_is_written_smaller() -> None:
    """Two references give two badges; 64 broad letters leave room for the window."""
    one = visited(WAYS[0])
    assert drawn(one, reference_visit_id="V1") != drawn(one, reference_visit_id="V2")
    for name in ("V1", "W" * 64):
        rgb = np.asarray(Image.open(BytesIO(drawn(one, reference_visit_id=name))).convert("RGB")) / 255.0
        strip = rgb[frame.PIXELS :]
        assert orange(strip)[:, -110:].sum() == 0
        assert (strip[:, -100:].min(axis=-1) > 0.6).sum() > 100


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    """10 of the 40 mm across."""
    rgb = planes(drawn(visited(WAYS[0])))[0]
    white = rgb[frame.PIXELS - 8, :90].min(axis=-1) > 0.9
    assert white.sum() == pytest.approx(10.0 / PIXEL_MM, abs=1)


def test_a_lesion_without_a_piece_is_a_dashed_circle() -> None:
    """Resolved, merged or not yet there: its place is marked by a circle of 6 mm with gaps."""
    rgb = planes(drawn(visited(WAYS[1], ball=False)))
    for plane in rgb:
        rows, columns = np.nonzero(orange(plane))
        reach = np.hypot(rows + 0.5 - 100, columns + 0.5 - 100)
        assert reach.mean() == pytest.approx(frame.RADIUS_MM / PIXEL_MM, abs=1.0)
        turn = np.arctan2(rows + 0.5 - 100, columns + 0.5 - 100)
        covered = np.histogram(turn, bins=96, range=(-np.pi, np.pi))[0] > 0
        assert 0.4 < covered.mean() < 0.8


def test_what_was_not_seen_is_hatched_and_said() -> None:
    """Beyond the field nothing looks like air, nothing is outlined or marked, and words say so in the middle."""
    one = visited(WAYS[0], ball=False)
    away = figures.Visited(one.image, one.lesions, None, lambda points: points + 300.0)
    for rgb in planes(drawn(away)):
        nothing = np.abs(rgb - np.array(to_rgb(ink.NOTHING))).max(axis=-1) < 0.01
        assert nothing.mean() > 0.6
        assert orange(rgb).sum() == 0
        assert (rgb[90:110, 50:150].min(axis=-1) > 0.9).sum() > 60


def test_the_round_field_counts_as_not_seen() -> None:
    """Voxels that the scanner did not measure are hatched, whatever value they hold."""
    one = visited(WAYS[0])
    imaged = np.ones(one.lesions.shape, bool)
    imaged[:, :, 60:] = False
    half = planes(drawn(figures.Visited(one.image, one.lesions, imaged, one.to_visit)))[0]
    nothing = np.abs(half - np.array(to_rgb(ink.NOTHING))).max(axis=-1) < 0.01
    assert nothing[:, 170:].mean() > 0.5
    assert nothing[:, :150].sum() == 0
