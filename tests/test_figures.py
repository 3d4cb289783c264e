"""The pictures: where things stand, in what shape, and the same bytes again."""

from io import BytesIO

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from monitor import figures, grid, words
from monitor._figures import doubts, ink
from monitor.types import Reason

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
    rows, columns = np.nonzero(like(rgb, ink.LESION_COLOUR, within=0.12))
    mm = 80.0 / 500
    assert np.ptp(columns) * mm == pytest.approx(16.0, abs=1.5)
    assert np.ptp(rows) * mm == pytest.approx(16.0, abs=2.5)


def test_the_scale_bar_is_as_long_as_it_says():
    """The bar is 20 of the 80 mm across."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM))
    longest = like(rgb[480:, :200], ink.INK).sum(axis=1).max()
    assert longest == pytest.approx(125, abs=6)


def test_the_slice_is_the_fullest_one():
    """A centre off the lesion's middle does not move the slice off the lesion."""
    image, ball = scene()
    off = CENTRE_MM + np.array([0.0, 0.0, 15.0])
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=off))
    assert like(rgb, ink.LESION_COLOUR).any()


def test_a_resolved_lesion_is_a_dashed_circle():
    """Without a lesion a circle of 6 mm radius stands in the middle, with gaps."""
    image, _ = scene()
    rgb = pixels(figures.lesion_picture(image, None, centre_mm=CENTRE_MM))
    rows, columns = np.nonzero(like(rgb, ink.LESION_COLOUR, within=0.12))
    assert np.ptp(columns) == pytest.approx(75, abs=4)
    assert rows.mean() == pytest.approx(280, abs=4)


def test_beyond_the_image_is_not_black():
    """Where the scan has no voxels the picture does not look like air."""
    image, ball = scene()
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM + np.array([35.0, 0.0, 0.0])))
    assert like(rgb, ink.NOTHING, within=0.01).mean() > 0.2


def test_other_lesions_are_outlined_in_another_colour():
    """The lesion asked for and the others are told apart."""
    image, ball = scene()
    others = grid.array(image) == 1000
    rgb = pixels(figures.lesion_picture(image, ball, centre_mm=CENTRE_MM, others=others))
    assert like(rgb, ink.OTHER_COLOUR, within=0.12).sum() > 20


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
    assert like(rgb, ink.LESION_COLOURS[2], within=0.15).sum() > 200
    assert not like(rgb, ink.LESION_COLOURS[1], within=0.1).any()


def test_the_check_does_not_hang_on_the_order_of_voxels():
    """Invariance: stored along other axes, the same scan gives the same check."""
    given = taken()
    masks = [given[name] for name in ("body", "skeleton", "lesions")]
    turned, body, skeleton, lesions = stored_as("PIR", given["image"], *masks)
    one = figures.qc_picture(**given)
    two = figures.qc_picture(turned, body=body > 0, skeleton=skeleton > 0, lesions=lesions)
    assert np.mean(np.abs(pixels(one) - pixels(two)).max(axis=-1) > 0.02) < 0.002


def reasons(**at: tuple[slice, slice, slice]) -> np.ndarray:
    """Return a map of the scene with boxes of reasons, named in small letters."""
    found = np.zeros(SIZE[::-1], np.uint8)
    for name, box in at.items():
        found[box] = Reason[name.upper()]
    return found


SPECK = (slice(10, 12), slice(30, 33), slice(20, 24))
CLUMP = (slice(5, 8), slice(24, 28), slice(60, 66))


def test_every_reason_has_a_word_and_a_colour_of_its_own():
    """No colour stands for two reasons, or for a lesion; bone has that of the skeleton."""
    assert set(words.REASONS) == set(doubts.COLOURS) == set(Reason) - {Reason.NOT_DENSE}
    assert len({*words.REASONS.values()}) == len({*doubts.COLOURS.values()}) == 9
    assert not {*doubts.COLOURS.values()} & {*ink.LESION_COLOURS}
    assert doubts.COLOURS[Reason.BONE] == ink.SKELETON_COLOUR


def test_pieces_and_volume_of_each_reason():
    """Closed form: connected boxes of voxels of 6 mm³; touching ones of two reasons are two pieces."""
    beside = (SPECK[0], SPECK[1], slice(24, 26))
    found = figures.left_out_amounts(reasons(noise=SPECK, too_small=beside) + reasons(noise=CLUMP), 6.0)
    assert found["noise"] == {"pieces": 2, "mm3": (24 + 72) * 6.0}
    assert found["too_small"] == {"pieces": 1, "mm3": 12 * 6.0}
    assert found["metal"] == {"pieces": 0, "mm3": 0.0}


def test_the_check_shows_what_was_left_out_and_why():
    """In the panels and in a tile below, outlined in the colour of its reason, with all reasons in the legend."""
    given = taken()
    shown = pixels(figures.qc_picture(**given, left_out=reasons(contrast=SPECK)))
    plain = pixels(figures.qc_picture(**given, left_out=reasons()))
    colour = doubts.COLOURS[Reason.CONTRAST]
    panels, strip = shown[:520], shown[520:, int(100 * doubts._LEGEND) :]
    assert like(panels, colour, within=0.35).sum() > like(plain[:520], colour, within=0.35).sum()
    assert like(strip, colour).sum() > 100
    assert not like(plain[520:, int(100 * doubts._LEGEND) :], colour).any()
    for own in doubts.COLOURS.values():
        assert like(plain[520:, :60], own, within=0.01).sum() > 200


def test_where_nothing_was_asked_there_is_no_strip():
    """A reader's outlines leave no question: the picture is as high as its panels."""
    given = taken()
    assert pixels(figures.qc_picture(**given)).shape[0] == 520
    assert pixels(figures.qc_picture(**given, left_out=reasons())).shape[0] == 520 + 100 * doubts.STRIP


def test_what_was_left_out_does_not_hang_on_the_order_of_voxels():
    """Invariance: stored along other axes, the same pieces stand in the same tiles."""
    given = taken(left_out=reasons(noise=SPECK, bone_edge=CLUMP))
    masks = [given[name] for name in ("body", "skeleton", "lesions", "left_out")]
    turned, body, skeleton, lesions, left_out = stored_as("PIR", given["image"], *masks)
    how = {"body": body > 0, "skeleton": skeleton > 0, "lesions": lesions, "left_out": left_out.astype(np.uint8)}
    one, two = figures.qc_picture(**given), figures.qc_picture(turned, **how)
    assert np.mean(np.abs(pixels(one) - pixels(two)).max(axis=-1) > 0.02) < 0.002


def turned_to_the_eye(left_out: np.ndarray, skeleton: np.ndarray) -> ink.Taken:
    nothing = np.zeros(left_out.shape, np.uint16)
    return ink.Taken(nothing, skeleton, skeleton, nothing, left_out, np.array([3.0, 2.0, 1.0]), 6.0)


def test_the_largest_doubtful_pieces_are_shown_each_reason_in_its_turn():
    """Twenty specks of noise do not push out the one piece of metal; what a reader excluded is in no doubt."""
    left_out = reasons(metal=SPECK, excluded=CLUMP)
    left_out[1:21:2, 2, 2:78:4] = Reason.NOISE
    left_out[3, 5:8, 4:9] = Reason.NOISE
    found = doubts.doubtful(turned_to_the_eye(left_out, left_out == 99), 6)
    assert [piece.reason for piece in found] == [Reason.NOISE] * 5 + [Reason.METAL]
    assert [piece.mm3 for piece in found] == [90.0, 6.0, 6.0, 6.0, 6.0, 144.0]
    assert found[-1].box == SPECK
    assert found[-1].fullest == 10


def test_bone_is_doubtful_where_it_stands_apart():
    """A small piece of bone is shown, one that is part of a large bone is not, whatever lies between them."""
    skeleton = np.zeros(SIZE[::-1], bool)
    skeleton[:, 20:30, 10:40] = True
    left_out = reasons(bone=(slice(2, 4), slice(20, 22), slice(10, 14)))
    left_out[CLUMP] = Reason.BONE
    found = doubts.doubtful(turned_to_the_eye(left_out, skeleton), 6)
    assert [piece.box for piece in found] == [CLUMP]


def test_in_a_projection_the_doubtful_lies_in_front():
    """Noise is seen before and behind bone, and the edge of bone only beside it."""
    left_out = np.array([[0, 1, 1, 2, 2], [0, 3, 2, 2, 6]], np.uint8)[None]
    assert doubts.through(left_out, 1).tolist() == [[0, Reason.NOISE, Reason.BONE, Reason.BONE_EDGE, Reason.BONE_EDGE]]


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
    assert like(with_boards[:40, 760:], ink.LESION_COLOUR).sum() > 1500


def test_the_baselines_edges_stand_still_whatever_the_scan_shows():
    """Over another scan, and over nothing, bone of the baseline is drawn at the same places."""
    given = taken()
    drawn = []
    for values in (grid.array(given["image"]).astype(float), np.full(given["body"].shape, np.nan)):
        overlay = figures.Overlay(given["image"], values, values)
        rgb = pixels(figures.qc_picture(**given, registration=overlay))[40:, 1335:]
        drawn.append(like(rgb, ink.LESION_COLOUR))
    one, two = drawn
    assert one.sum() > 100
    assert (one & ndimage.binary_dilation(two)).sum() > 0.8 * one.sum()
