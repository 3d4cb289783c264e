"""The pictures: where things stand, in what shape, and the same bytes again."""

from io import BytesIO

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from monitor import figures, grid

SPACING = (1.0, 2.0, 3.0)
SIZE = (80, 40, 24)
CENTRE_MM = np.array([6.0, -4.0, 12.0])


def scene() -> tuple[sitk.Image, np.ndarray]:
    """Return an image of soft tissue with a ball of mineral of 8 mm radius at the centre, and the ball's mask."""
    image = sitk.Image(SIZE, sitk.sitkInt16)
    image.SetSpacing(SPACING)
    image.SetOrigin([c - 0.5 * (n - 1) * s for c, n, s in zip(CENTRE_MM, SIZE, SPACING, strict=True)])
    points = grid.to_mm(image, np.indices(SIZE[::-1]).reshape(3, -1).T)
    ball = (np.linalg.norm(points - CENTRE_MM, axis=1) < 8.0).reshape(SIZE[::-1])
    mark = (np.linalg.norm(points - CENTRE_MM - [20.0, -14.0, 0.0], axis=1) < 5.0).reshape(SIZE[::-1])
    hu = np.where(ball, 500, np.where(mark, 1000, 40)).astype(np.int16)
    return grid.image_like(hu, image), ball


def stored_as(code: str, image: sitk.Image, *masks: np.ndarray) -> list:
    """Return image and masks with the voxels stored in another order, each at its old place."""
    turned = sitk.DICOMOrient(image, code)
    others = [sitk.DICOMOrient(grid.image_like(mask.astype(np.uint16), image), code) for mask in masks]
    return [turned, *(grid.array(other) for other in others)]


def pixels(png: bytes) -> np.ndarray:
    """Return RGB, (rows, columns, 3) in 0 to 1."""
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")) / 255.0


def like(rgb: np.ndarray, colour: str, *, within: float = 0.05) -> np.ndarray:
    """Tell which pixels have a colour."""
    return np.abs(rgb - np.array(to_rgb(colour))).max(axis=-1) < within


def test_equal_values_give_equal_bytes():
    """A picture hangs on its values alone: no time, no name of a software."""
    image, ball = scene()
    first, second = (figures.lesion_picture(image, ball, centre_mm=CENTRE_MM, title="P001") for _ in range(2))
    assert first == second
    assert b"Software" not in first


@pytest.mark.parametrize("code", ["RAI", "LPI", "PSL", "SRA"])
def test_the_order_of_voxels_does_not_matter(code):
    """Invariance: the same patient stored along other axes gives the same slice, left on the right."""
    image, ball = scene()
    turned, mask = stored_as(code, image, ball)
    one = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM))
    two = pixels(figures.lesion_picture(turned, mask > 0, centre_mm=CENTRE_MM))
    assert np.mean(np.abs(one - two).max(axis=-1) > 0.02) < 0.002


def test_left_is_on_the_right_and_anterior_is_up():
    """What lies left and anterior of the lesion stands right of it and above it."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM))
    bright = np.argwhere((rgb[60:480, 40:460] > 0.995).all(axis=-1)) + np.array([60, 40])
    row, column = np.median(bright, axis=0)
    assert column > 320
    assert row < 230


def test_voxels_keep_their_shape_in_mm():
    """A ball on voxels of 1 by 2 mm is outlined as high as it is wide, within a voxel, and 16 mm across."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM))
    rows, columns = np.nonzero(like(rgb, figures.LESION_COLOUR, within=0.12))
    mm = 80.0 / 500
    assert np.ptp(columns) * mm == pytest.approx(16.0, abs=1.5)
    assert np.ptp(rows) * mm == pytest.approx(16.0, abs=2.5)


def test_the_scale_bar_is_as_long_as_it_says():
    """The bar is 20 of the 80 mm across."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM))
    longest = like(rgb[480:, :200], figures.INK).sum(axis=1).max()
    assert longest == pytest.approx(125, abs=6)


def test_the_slice_is_the_fullest_one():
    """A centre off the lesion's middle does not move the slice off the lesion."""
    image, ball = scene()
    off = CENTRE_MM + np.array([0.0, 0.0, 15.0])
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=off))
    assert like(rgb, figures.LESION_COLOUR).any()


def test_a_resolved_lesion_is_a_dashed_circle():
    """Without a lesion a circle of 6 mm radius stands in the middle, with gaps."""
    image, _ = scene()
    rgb = pixels(figures.lesion_picture(image, None, centre_mm=CENTRE_MM))
    rows, columns = np.nonzero(like(rgb, figures.LESION_COLOUR, within=0.12))
    assert np.ptp(columns) == pytest.approx(75, abs=4)
    assert rows.mean() == pytest.approx(280, abs=4)


def test_beyond_the_image_is_not_black():
    """Where the scan has no voxels the picture does not look like air."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM + np.array([35.0, 0.0, 0.0])))
    assert like(rgb, figures.NOTHING, within=0.01).mean() > 0.2


def test_other_lesions_are_outlined_in_another_colour():
    """The lesion asked for and the others are told apart."""
    image, ball = scene()
    others = grid.array(image) == 1000
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM, others=others))
    assert like(rgb, figures.OTHER_COLOUR, within=0.12).sum() > 20


def test_a_long_title_is_set_smaller_not_cut():
    """Ids may have 64 letters each: the lesion's number, at the end, must still be there."""
    image, ball = scene()
    for title in ("i" * 130, "W" * 130):
        rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM, title=title + "  lesion 1"))
        assert rgb[:28, 400:490].max() > 0.2
        assert rgb[:28, 493:].max() == 0.0


def taken(**changes: object) -> dict:
    """Return what ``qc_picture`` takes, of the scene in a body."""
    image, ball = scene()
    body = np.zeros(ball.shape, bool)
    body[:, 4:-6, 4:-4] = True
    skeleton = np.zeros(ball.shape, bool)
    skeleton[:, 8:12, 10:16] = True
    return {"image": image, "body": body, "skeleton": skeleton, "lesions": ball.astype(np.uint16) * 3, **changes}


def test_the_check_colours_lesions_by_number():
    """The lesion has the colour of its number in the projections and in the slice."""
    rgb = pixels(figures.qc_picture(**taken(), title="P001"))
    assert like(rgb, figures.LESION_COLOURS[2], within=0.15).sum() > 200
    assert not like(rgb, figures.LESION_COLOURS[4], within=0.1).any()


def test_the_check_does_not_hang_on_the_order_of_voxels():
    """Invariance: stored along other axes, the same scan gives the same check."""
    given = taken()
    masks = [given[name] for name in ("body", "skeleton", "lesions")]
    turned, body, skeleton, lesions = stored_as("PIR", given["image"], *masks)
    one = figures.qc_picture(**given)
    two = figures.qc_picture(turned, body=body > 0, skeleton=skeleton > 0, lesions=lesions)
    assert np.mean(np.abs(pixels(one) - pixels(two)).max(axis=-1) > 0.02) < 0.002


def test_the_check_shows_what_a_reader_left_out():
    """Left-out places are tinted."""
    given = taken()
    left_out = np.zeros(given["body"].shape, bool)
    left_out[:, 4:8, 40:60] = True
    assert figures.qc_picture(**given) != figures.qc_picture(**given, left_out=left_out)


def test_an_empty_scan_has_a_check():
    """Neither lesions nor a skeleton are needed."""
    nothing = np.zeros(SIZE[::-1], bool)
    assert figures.qc_picture(**taken(skeleton=nothing, lesions=nothing.astype(np.uint16))).startswith(b"\x89PNG")


def test_a_registration_makes_the_check_wider_and_says_resampled():
    """Beside stand checkerboards with a badge; NaN, where the follow-up saw nothing, does no harm."""
    given = taken()
    moved = grid.array(given["image"]).astype(float)
    moved[:4] = np.nan
    with_boards = pixels(figures.qc_picture(**given, registration=figures.Overlay(given["image"], moved, moved)))
    without = pixels(figures.qc_picture(**given))
    assert with_boards.shape[1] > without.shape[1]
    assert like(with_boards[:40, 760:], figures.LESION_COLOUR).sum() > 1500


def test_the_baselines_edges_stand_still_whatever_the_scan_shows():
    """Over another scan, and over nothing, bone of the baseline is drawn at the same places."""
    given = taken()
    drawn = []
    for values in (grid.array(given["image"]).astype(float), np.full(given["body"].shape, np.nan)):
        overlay = figures.Overlay(given["image"], values, values)
        rgb = pixels(figures.qc_picture(**given, registration=overlay))[40:, 1335:]
        drawn.append(like(rgb, figures.LESION_COLOUR))
    one, two = drawn
    assert one.sum() > 100
    assert (one & ndimage.binary_dilation(two)).sum() > 0.8 * one.sum()
