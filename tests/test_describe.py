"""Where a piece lies and what it looks like: depths and shapes in closed form, tissues drawn, the phantom's scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage

from monitor import anatomy, grid, lesions, phantom
from monitor._describe import cut, field, shape, side, skin, zones
from monitor.describe import COLUMNS, COMPARTMENTS, KINDS, PATTERNS, SIDES, describe
from monitor.types import Anatomy, Findings, Scan
from tests.made import SKIN_MM, Ball, limb, scan_of, within

THRESHOLD_HU = 130.0
Described = tuple[Scan, Anatomy, Findings]


def slab(labels: np.ndarray, *, skeleton: np.ndarray | None = None, body: np.ndarray | None = None) -> Described:
    """Return scan, anatomy and findings of 1 mm voxels; all is body unless said otherwise."""
    return known(np.full(labels.shape, 50.0), labels, skeleton=skeleton, body=body)


def known(
    hu: np.ndarray, labels: np.ndarray, *, skeleton: np.ndarray | None = None, body: np.ndarray | None = None
) -> Described:
    """Return scan, anatomy and findings of 1 mm voxels of given HU."""
    none = np.zeros(labels.shape, bool)
    parts = Anatomy(
        ~none if body is None else body, none if skeleton is None else skeleton, none, 10.0, 50.0, np.ones((1, 1, 1))
    )
    return scan_of(hu, (1.0, 1.0, 1.0)), parts, Findings(labels.astype(np.int32), THRESHOLD_HU, 8.0)


def from_middle(size: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z, y, x of a cube of 1 mm voxels, mm from its middle."""
    z, y, x = np.indices((size,) * 3) - (size - 1) / 2
    return z, y, x


def ball(radius_mm: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0), size: int = 48) -> np.ndarray:
    parts = (axis - middle for axis, middle in zip(from_middle(size), at, strict=True))
    return np.asarray(sum(part**2 for part in parts) <= radius_mm**2)


def drawn(mineral: np.ndarray, *, hu: float = 500.0, piece: np.ndarray | None = None, core_hu: float = 50.0) -> dict:
    """Describe one piece in muscle; where ``piece`` is more than mineral the rest of it has ``core_hu``."""
    outline = mineral if piece is None else piece
    values = np.where(mineral, hu, np.where(outline, core_hu, 55.0))
    return describe(*known(values, outline.astype(int))).iloc[0].to_dict()


def boxes() -> np.ndarray:
    labels = np.zeros((10, 20, 20), int)
    labels[4:6, 4:6, 4:6] = 1
    labels[4:6, 12:14, 12:14] = 2
    return labels


def test_no_piece_gives_an_empty_table():
    """All columns are there, and can be merged by label."""
    found = describe(*slab(np.zeros((4, 5, 6))))
    assert found.columns.tolist() == list(COLUMNS)
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
    assert describe(*slab(labels))["depth_mm"].tolist() == pytest.approx([14.5], abs=0.6)


@pytest.mark.parametrize("depth_mm", [2.0, 11.0, 13.0, 28.0])
def test_sparse_skin_is_near_enough(depth_mm):
    """Closed form: under a flat skin the depth is the distance to it, beyond 12 mm within 2 % and 0.4 mm."""
    body = np.ones((60, 80, 80), bool)
    body[:, :10] = False
    found = skin.of_body(body, scan_of(np.zeros(body.shape), (1.0, 1.0, 1.0)))
    # The nearest skin of the point is that above it: the field's other borders are farther.
    point = np.array([[40.0, 9.5 + depth_mm, 30.0]])
    assert found.depth_mm(point)[0] == pytest.approx(depth_mm, rel=0.02, abs=0.4)


def test_a_body_that_fills_no_slice_has_no_skin_inside():
    """Without any body there is no skin, and a depth is unknown."""
    labels = boxes()
    found = describe(*slab(labels, body=np.zeros(labels.shape, bool)))
    assert found["depth_mm"].isna().all()
    assert found["side"].tolist() == ["", ""]


@pytest.mark.parametrize(("gap", "contact"), [(0, True), (1, True), (3, False), (8, False), (14, False)])
def test_contact_with_bone(gap, contact):
    """A piece touches bone where nothing lies between, or less than the blur can show."""
    labels = np.zeros((6, 20, 40), int)
    labels[2:4, 8:12, 8:12] = 1
    bone = np.zeros(labels.shape, bool)
    bone[:, :, 12 + gap : 18 + gap] = True
    assert describe(*slab(labels, skeleton=bone))["bone_contact"].tolist() == [contact]


def test_without_bone_there_is_no_contact():
    """No skeleton, no contact."""
    assert describe(*slab(boxes()))["bone_contact"].tolist() == [False, False]


def test_a_readers_compartment_wins():
    """The number with most voxels of a reader's mask names a piece; where only 0 lies, the voxels around do."""
    labels = boxes()
    compartments = np.zeros(labels.shape, np.uint16)
    compartments[4, 4:6, 4:6] = 2
    compartments[5, 4, 4:6] = 700
    found = describe(*slab(labels), compartments)
    assert found["compartment"].tolist() == ["2", "muscle_or_fascia"]


def test_a_row_a_piece_in_order_of_labels():
    """Invariance: numbered the other way round, the same pieces have the same descriptions."""
    ball = within(limb(), (0.0, 0.0, 0.0), 20.0)[:10, :20, :20]
    body = ndimage.binary_dilation(ball | (boxes() > 0), iterations=3)
    one = describe(*slab(boxes(), body=body))
    two = describe(*slab((3 - boxes()) * (boxes() > 0), body=body))
    assert one["label"].tolist() == two["label"].tolist() == [1, 2]
    pd.testing.assert_frame_equal(one.drop(columns="label"), two.drop(columns="label")[::-1].reset_index(drop=True))


def test_a_missing_label_has_no_row():
    """Numbers may have gaps: a reader's mask does."""
    assert describe(*slab(np.where(boxes() == 2, 7, boxes())))["label"].tolist() == [1, 7]


def plate(*, holes: bool) -> np.ndarray:
    """Return a plate of 34 x 34 x 3 mm, with nine holes of 5 mm."""
    z, y, x = from_middle()
    flat = (np.abs(z) < 2) & (np.abs(y) < 17) & (np.abs(x) < 17)
    cut_out = np.zeros(flat.shape, bool)
    for v in (-10, 0, 10):
        for u in (-10, 0, 10):
            cut_out |= (np.abs(y - v) < 3) & (np.abs(x - u) < 3)
    return flat & ~cut_out if holes else flat


def rod() -> np.ndarray:
    z, y, x = from_middle()
    return (np.abs(z) < 20) & (np.abs(y) < 2) & (np.abs(x) < 2)


def speckle() -> np.ndarray:
    """Return a third of the voxels of a ball, at random, where they hang together."""
    some = ball(9.0) & (np.random.default_rng(5).random((48,) * 3) < 0.35)
    labels, _ = ndimage.label(some, np.ones((3, 3, 3)))
    return labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1


SHAPES = {
    "nodular": ball(8.0),
    "shell": ball(10.0) & ~ball(7.0),
    "sheet": plate(holes=False),
    "lacy": plate(holes=True),
    "linear": rod(),
    "lobulated": ball(7.0, (-5.0, 0.0, 0.0)) | ball(6.0, (7.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_called_by_their_names(name, axis):
    """Closed form: a solid drawn on a grid, whichever way it lies."""
    assert drawn(np.moveaxis(SHAPES[name], 0, axis))["pattern"] == name


def test_a_faint_speckle_is_a_cloud():
    """What barely rises above the threshold and fills a part of its outline is no body of its own."""
    assert drawn(speckle(), hu=160.0)["pattern"] == "amorphous_cloud"


def test_a_few_voxels_have_no_shape():
    """Below eight voxels nothing is said."""
    few = np.zeros((48,) * 3, bool)
    few[24, 24, 20:26] = True
    found = drawn(few)
    assert (found["pattern"], found["kind"]) == ("indeterminate", "indeterminate")
    assert np.isnan([found["rim_core_hu"], found["zonal_index"], found["rim_completeness_pct"]]).all()
    assert pd.isna(found["fluid_level"])


@pytest.mark.parametrize(
    ("mask", "count"),
    [(ball(8.0), 0), (ball(8.0) & ~ball(5.0), 0), (plate(holes=False), 0), (plate(holes=True), 9)],
    ids=["ball", "hollow ball", "plate", "plate with nine holes"],
)
def test_holes_are_counted(mask, count):
    """Closed form: pieces and cavities less the Euler number."""
    assert shape.holes(mask) == count


def test_a_solid_ball_has_neither_rim_nor_core():
    """Closed form: mineral is uniform, all of the surface is covered, and it is calcification."""
    found = drawn(ball(8.0))
    assert found["zonal_index"] == 0.0
    assert found["rim_core_hu"] == 0.0
    assert found["rim_completeness_pct"] == 100.0
    assert found["marrow_fat_fraction"] == 0.0
    assert np.isnan(found["rim_thickness_mm"])
    assert found["kind"] == "calcification"


def test_a_shell_in_closed_form():
    """A rim of 3 mm on a ball of 10: mean depths are 1.325 and 2.5 mm, the index 1 less their ratio."""
    found = drawn(ball(10.0) & ~ball(7.0), hu=800.0)
    assert found["zonal_index"] == pytest.approx(1 - 1.325 / 2.5, abs=0.05)
    assert found["rim_core_hu"] == pytest.approx(750.0, abs=10.0)
    assert found["rim_completeness_pct"] == 100.0
    assert found["rim_thickness_mm"] == pytest.approx(3.0, abs=1.0)


def test_half_a_rim_covers_half_the_surface():
    """Closed form, on the outline that a reader gave."""
    half = ball(10.0) & ~ball(7.0) & (from_middle()[2] < 0)
    found = drawn(half, hu=800.0, piece=ball(10.0))
    # Within 3 mm of its edge the other half is covered too.
    assert found["rim_completeness_pct"] == pytest.approx(100 * (0.5 + 3 / 20), abs=6.0)


def test_mineral_in_the_middle_has_a_negative_index():
    """Closed form: a core of 5 mm in a ball of 10 lies 6.25 mm deep on average, the ball 2.5."""
    found = drawn(ball(5.0), piece=ball(10.0))
    assert found["zonal_index"] == pytest.approx(1 - 6.25 / 2.5, abs=0.1)


@pytest.mark.parametrize(
    ("core_hu", "slice_mm", "kind"),
    [(-80.0, 1.0, "ossification"), (250.0, 1.0, "ossification"), (50.0, 1.0, "indeterminate"), (-80.0, 2.0, None)],
    ids=["fatty marrow", "spongy core", "soft core", "thick slices"],
)
def test_ossification_needs_a_rim_and_marrow_that_are_resolved(core_hu, slice_mm, kind):
    """A cortex alone is not enough, nor is anything in slices of 2 mm."""
    one, parts, found = known(np.where(ball(10.0), np.where(ball(7.0), core_hu, 900.0), 55.0), ball(10.0).astype(int))
    one = replace(one, acquisition=replace(one.acquisition, slice_thickness_mm=slice_mm))
    said = describe(one, parts, found).iloc[0]
    assert said["kind"] == (kind or "indeterminate")
    share = (ball(7.0).sum() / ndimage.binary_erosion(ball(10.0)).sum()) if core_hu < 0 else 0.0
    assert said["marrow_fat_fraction"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("tilt_deg", "step_hu", "level"),
    [(0.0, 400.0, True), (3.0, 400.0, True), (15.0, 400.0, False), (90.0, 400.0, False), (0.0, 60.0, False)],
)
def test_a_fluid_level_is_horizontal_and_a_step(tilt_deg, step_hu, level):
    """Closed form: two halves of a ball, the heavier one to the back, divided by a plane of a known tilt."""
    _, y, x = from_middle()
    below = y * np.cos(np.deg2rad(tilt_deg)) + x * np.sin(np.deg2rad(tilt_deg)) > 0
    hu = np.where(ball(10.0), np.where(below, 200.0 + step_hu, 200.0), 55.0)
    assert bool(describe(*known(hu, ball(10.0).astype(int))).iloc[0]["fluid_level"]) is level


def test_a_heavier_upper_half_is_no_sediment():
    """What is heavy lies below."""
    _, y, _ = from_middle()
    hu = np.where(ball(10.0), np.where(y > 0, 200.0, 600.0), 55.0)
    assert not describe(*known(hu, ball(10.0).astype(int))).iloc[0]["fluid_level"]


def layers() -> tuple[np.ndarray, np.ndarray]:
    """Return HU and body of a flat part: 5 mm of air, skin to 7 mm, fat to 20 mm, then muscle."""
    y = np.indices((40, 60, 60))[1]
    hu = np.select([y < 5, y < 7, y < 20], [-1000.0, 40.0, -100.0], 55.0)
    return hu, y >= 5


@pytest.mark.parametrize(
    ("top", "bottom", "place"),
    [(5, 7, "skin"), (11, 14, "subcutis"), (18, 23, "muscle_or_fascia"), (30, 35, "muscle_or_fascia")],
)
def test_the_layers_of_a_limb(top, bottom, place):
    """A block in the skin, in the fat, on the fascia and in the muscle is called so."""
    hu, body = layers()
    labels = np.zeros(hu.shape, int)
    labels[17:23, top:bottom, 27:33] = 1
    hu[labels > 0] = 500.0
    assert describe(*known(hu, labels, body=body))["compartment"].tolist() == [place]


def test_fat_between_muscles_is_not_fat_under_the_skin():
    """A layer of muscle on the way to the skin tells the two apart."""
    hu, body = layers()
    hu[:, 28:42] = -100.0
    labels = np.zeros(hu.shape, int)
    labels[18:21, 33:36, 28:31] = 1
    hu[labels > 0] = 500.0
    assert describe(*known(hu, labels, body=body))["compartment"].tolist() == [""]


@pytest.mark.parametrize(("gap", "place"), [(4, "periarticular"), (0, "muscle_or_fascia"), (14, "muscle_or_fascia")])
def test_beside_a_joint_lies_what_is_near_the_gap_of_two_bones(gap, place):
    """Two shafts end to end, 20 mm wide: with a gap of 4 mm there is a joint, without one or a wider one none."""
    z, y, x = from_middle(80)
    bone = (np.hypot(y, x) < 10) & (np.abs(z) >= gap / 2)
    labels = ball(3.0, (0.0, 0.0, 17.0), 80).astype(int)
    hu = np.where(labels > 0, 500.0, np.where(bone, 700.0, 55.0))
    assert describe(*known(hu, labels, skeleton=bone))["compartment"].tolist() == [place]


def vessel(*, lumen_hu: float, fat_hu: float) -> Described:
    """Return half the wall of an artery of 5 mm, 20 mm long, within its sheath, in muscle."""
    z, y, x = from_middle(60)
    away = np.hypot(y, x)
    wall = (away >= 4.6) & (away <= 6.4) & (y < 0) & (np.abs(z) <= 10)
    hu = np.select([wall, away < 5.5, away < 11], [600.0, lumen_hu, fat_hu], 55.0)
    hu = ndimage.gaussian_filter(hu, 0.7)
    return known(hu, (wall & (hu > THRESHOLD_HU)).astype(int))


@pytest.mark.parametrize(
    ("lumen_hu", "fat_hu", "is_wall"), [(45.0, -90.0, True), (-90.0, -90.0, False), (55.0, 55.0, False)]
)
def test_a_wall_bends_around_blood_within_fat(lumen_hu, fat_hu, is_wall):
    """Without blood inside, or without fat outside, a bent sheet is no vessel's wall."""
    found = describe(*vessel(lumen_hu=lumen_hu, fat_hu=fat_hu)).iloc[0]
    assert (found["compartment"] == "vessel_wall") is is_wall
    assert found["pattern"] == "sheet"


def belly() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return HU, body and bone of a child's trunk of 2 mm: fat, muscle, spine, two ribs, gas of the bowel."""
    y, x = (axis - 60.0 for axis in np.indices((120, 120)))
    body = np.hypot(x / 50, y / 36) < 1
    spine = np.hypot(x, y - 20) < 7
    ribs = np.hypot(np.abs(x) - 42, y) < 4
    gas = np.hypot(np.abs(x) - 14, y + 14) < 6
    hu = np.select([~body, spine | ribs, gas, np.hypot(x / 46, y / 32) < 1], [-1000.0, 500.0, -900.0, 50.0], -100.0)
    return tuple(np.repeat(part[None], 30, axis=0) for part in (hu, body, spine | ribs))


def in_belly(x: int, y: int, radius: float = 2.5) -> pd.Series:
    """Describe a ball in the trunk, at voxels from its middle."""
    hu, body, bone = belly()
    place = np.indices(hu.shape)
    labels = np.hypot(np.hypot(place[2] - 60 - x, place[1] - 60 - y), place[0] - 15) <= radius
    hu[labels] = 500.0
    none = np.zeros(hu.shape, bool)
    one = scan_of(hu, (2.0, 2.0, 2.0))
    parts = Anatomy(body, bone, none, 10.0, 50.0, np.ones((1, 1, 1)))
    return describe(one, parts, Findings(labels.astype(np.int32), THRESHOLD_HU, 8.0)).iloc[0]


def test_between_the_gas_of_the_bowel_lies_an_organ():
    """And what is as deep beside it may be muscle or organ: nothing is said."""
    assert in_belly(0, -14)["compartment"] == "organ"
    assert in_belly(-30, 8)["compartment"] == ""


@pytest.mark.parametrize(("x", "word"), [(25, "left"), (0, "midline"), (-25, "right"), (-8, "right")])
def test_the_side_in_a_trunk(x, word):
    """Left is where x grows; the plane is that which mirrors body and bone."""
    assert in_belly(x, -14, radius=1.5)["side"] == word


def test_the_plane_of_a_turned_trunk():
    """Invariance: turned by 12 degrees about the long axis the plane turns with the patient."""
    hu, body, bone = (ndimage.rotate(part.astype(float), 12, axes=(1, 2), reshape=False, order=0) for part in belly())
    one = scan_of(np.where(body > 0, hu, -1000.0), (2.0, 2.0, 2.0))
    parts = Anatomy(body > 0, bone > 0, np.zeros(body.shape, bool), 10.0, 50.0, np.ones((1, 1, 1)))
    seen = field.outline(one, parts)
    assert side.has_plane(seen)
    found = side.plane(seen.level(30.0))
    assert found is not None
    assert np.degrees(np.arccos(abs(found.normal[0]))) == pytest.approx(12.0, abs=3.0)
    assert abs(found.beyond_mm(np.array([[120.0, 120.0]]))[0]) < 4.0


@pytest.mark.parametrize(("given", "word"), [("Left", "left"), ("right", "right"), ("", ""), ("both", "")])
def test_a_single_limb_has_the_side_that_the_study_says(given, word):
    """One thigh has no mirror plane: without the study's word its side is unknown."""
    one = limb([Ball((12.0, 8.0, 0.0), 4.0)])
    parts = anatomy.find(one)
    found = describe(one, parts, lesions.find(one, parts), given_side=given)
    assert found["side"].tolist() == [word]


def test_words_are_those_that_are_documented():
    """The lists that other modules and the documentation name."""
    assert set(shape_words()) <= set(PATTERNS)
    assert len(COMPARTMENTS) == 6
    assert set(KINDS) == {"calcification", "ossification", "indeterminate"}
    assert set(SIDES) == {"left", "right", "midline"}


def shape_words() -> list[str]:
    return [drawn(mask)["pattern"] for mask in SHAPES.values()]


def of_scene(visit: phantom.PhantomVisit, *, flip: bool = False, shift_mm: float = 0.0) -> pd.DataFrame:
    """Describe the true lesions of a visit by name; flipped, or the whole scan moved."""
    image, turn = visit.scan.image, slice(None, None, -1 if flip else 1)
    moved = sitk.GetImageFromArray(np.ascontiguousarray(visit.scan.array[:, :, turn]))
    moved.CopyInformation(image)
    moved.SetOrigin([value + shift_mm for value in image.GetOrigin()])
    masks = (np.ascontiguousarray(part[:, :, turn]) for part in (visit.body, visit.skeleton, visit.labels))
    body, bone, labels = masks
    parts = Anatomy(body, bone, np.zeros(body.shape, bool), 18.0, 55.0, np.ones((1, 1, 1)))
    found = describe(replace(visit.scan, image=moved), parts, Findings(labels.astype(np.int32), THRESHOLD_HU, 8.0))
    names = visit.lesions.set_index("lesion_number")["lesion"]
    return found.assign(lesion=found["label"].map(names)).set_index("lesion").drop(columns="label")


@pytest.fixture(scope="module")
def scenes() -> dict[str, phantom.PhantomVisit]:
    """Return the first visit of each child of the demo."""
    return {name: phantom.series(name, seed=4, visits=2)[0] for name in ("gaci", "jdm", "myositis")}


def test_arteries_sheets_and_a_shell_of_the_phantom(scenes):
    """Truth of the phantom: calcium in arteries, lace under the skin, a shell in the muscle."""
    arteries = of_scene(scenes["gaci"]).loc[["aorta_upper", "aorta_lower", "iliac_right", "iliac_left"]]
    assert arteries["compartment"].tolist() == ["vessel_wall"] * 4
    assert arteries["side"].tolist()[2:] == ["right", "left"]
    legs = of_scene(scenes["jdm"])
    assert legs.loc[["thigh_sheet", "calf_sheet"], "compartment"].tolist() == ["subcutis"] * 2
    assert legs.loc[["thigh_sheet", "calf_sheet"], "pattern"].tolist() == ["lacy"] * 2
    assert legs.loc[["thigh_sheet", "calf_sheet"], "side"].tolist() == ["left", "right"]
    assert legs.loc["knee_nodule", ["compartment", "pattern"]].tolist() == ["periarticular", "nodular"]
    thigh = of_scene(scenes["myositis"])
    assert thigh.loc["shell", ["compartment", "pattern", "side"]].tolist() == ["muscle_or_fascia", "shell", ""]
    assert thigh.loc["shell", "zonal_index"] > 0.3


def test_mirrored_left_is_right(scenes):
    """Invariance: a mirrored scan has the same lesions on the other side."""
    one, two = of_scene(scenes["jdm"]), of_scene(scenes["jdm"], flip=True)
    other = {"left": "right", "right": "left", "midline": "midline", "": ""}
    assert two["side"].tolist() == [other[word] for word in one["side"]]
    assert two["compartment"].tolist() == one["compartment"].tolist()
    assert two["pattern"].tolist() == one["pattern"].tolist()


def test_a_shift_changes_nothing(scenes):
    """Invariance: where the scanner's origin lies does not matter."""
    one, two = of_scene(scenes["myositis"]), of_scene(scenes["myositis"], shift_mm=137.0)
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)


def test_a_tube_encloses_nothing():
    """Closed form: open at its ends, a tube's envelope is its wall; a closed shell's is all of it."""
    z, y, x = from_middle()
    away = np.hypot(y, x)
    tube = (away >= 6) & (away <= 8) & (np.abs(z) < 15)
    assert zones.envelope(tube, np.ones(3)).sum() == pytest.approx(tube.sum(), rel=0.1)
    shell = ball(10.0) & ~ball(7.0)
    assert np.array_equal(zones.envelope(shell, np.ones(3)), ball(10.0))


def test_a_piece_alone_keeps_its_place():
    """The tight box of a piece leads to the same points as the wide one."""
    labels = ball(3.0, (4.0, -6.0, 8.0)).astype(int)
    one, parts, found = known(np.full(labels.shape, 500.0), labels)
    wide = cut.cut(one, parts, found, 1, ndimage.find_objects(labels)[0])
    assert np.allclose(wide.tight().points_mm(wide.tight().piece), wide.points_mm(wide.piece))
    assert wide.centre_mm == pytest.approx(grid.to_mm(one.image, np.argwhere(labels)).mean(axis=0))
