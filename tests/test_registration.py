"""Registration against known maps, and what it must refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import sparse
from scipy.spatial.transform import Rotation

import monitor
from benchmarks.pairs import turned
from monitor import grid, phantom
from monitor._registration import bend, match, scales, start
from monitor._registration.scales import Scale
from monitor.phantom import PhantomVisit
from monitor.registration import for_looking, through
from monitor.types import Anatomy, Registration, RegistrationError, Scan

AIR_HU = -1000


@pytest.fixture(scope="module")
def pair() -> list[PhantomVisit]:
    """Return two coarse visits of a thigh with pose and growth."""
    return phantom.series("myositis", seed=5, visits=2, spacing_mm=(1.8, 1.8, 3.0), warp_mm=1.0, lesions=["fleck"])


@pytest.fixture(scope="module")
def found(pair: list[PhantomVisit]) -> Registration:
    """Return the registration of the pair."""
    return monitor.register(pair[0].scan, pair[1].scan)


@pytest.fixture(scope="module")
def bent() -> list[PhantomVisit]:
    """Return two coarse visits of legs whose knees bend by 20 degrees between them."""
    return phantom.series("limb", seed=8, visits=2, spacing_mm=(1.8, 1.8, 3.0), bend_deg=(0.0, 20.0), lesions=())


@pytest.fixture(scope="module")
def straightened(bent: list[PhantomVisit]) -> Registration:
    """Return the registration of the bent pair."""
    return monitor.register(bent[0].scan, bent[1].scan)


def errors(found: Registration, pair: list[PhantomVisit]) -> np.ndarray:
    """Return how far landmarks of the visit land from their partners, mm."""
    return np.linalg.norm(found.to_baseline(pair[1].landmarks_mm) - pair[0].landmarks_mm, axis=1)


def posed(scan: Scan, turn: np.ndarray) -> tuple[Scan, np.ndarray]:
    """Return a scan of the turned body, on cubes, and the (4, 4) matrix from the first scan's mm to the second's."""
    middle = grid.to_mm(scan.image, (np.array(scan.array.shape)[None] - 1) / 2)[0]
    size = int(np.ceil(np.linalg.norm(np.array(scan.image.GetSize()) * scan.image.GetSpacing()) / 2.5))
    image = sitk.Image([size] * 3, sitk.sitkInt16)
    image.SetSpacing([2.5] * 3)
    image.SetOrigin([float(v) for v in middle - (size - 1) * 1.25])
    back = sitk.AffineTransform(3)
    back.SetMatrix(turn.T.ravel().tolist())
    back.SetCenter(middle.tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = middle - turn @ middle
    return Scan(sitk.Resample(scan.image, image, back, sitk.sitkLinear, AIR_HU)), matrix


def test_landmarks_are_carried_to_the_baseline(pair: list[PhantomVisit], found: Registration) -> None:
    """Truth: bone, skin and vessel land on their partners within half a voxel in the mean."""
    assert errors(found, pair).mean() < 0.9


def test_the_error_is_below_its_upper_limit(pair: list[PhantomVisit], found: Registration) -> None:
    """The limit that is reported holds for the mean, and is no wider than three voxels."""
    assert errors(found, pair).mean() < found.residual_hi_mm < 5.4


def test_both_ways_agree(pair: list[PhantomVisit], found: Registration) -> None:
    """Invariance: there and back ends where it began."""
    points = pair[1].landmarks_mm
    assert np.abs(found.from_baseline(found.to_baseline(points)) - points).max() < 0.1


@pytest.mark.slow
def test_the_same_bits_twice(pair: list[PhantomVisit], found: Registration) -> None:
    """Repeatable: a second run gives the same matrix and field to the last bit."""
    again = monitor.register(pair[0].scan, pair[1].scan)
    assert np.array_equal(again.matrix, found.matrix)
    assert np.array_equal(grid.array(again.field_mm), grid.array(found.field_mm))


@pytest.mark.slow
def test_the_same_bits_whatever_the_number_of_threads() -> None:
    """Repeatable: BLAS on one thread and on two gives the same matrix and field to the last bit."""
    code = (
        "import hashlib, monitor\n"
        "from monitor import grid, phantom\n"
        "one, two = phantom.series('jdm', seed=6, visits=2, spacing_mm=(1.8, 1.8, 3.0), lesions=())\n"
        "found = monitor.register(one.scan, two.scan)\n"
        "print(hashlib.sha256(found.matrix.tobytes() + grid.array(found.field_mm).tobytes()).hexdigest())\n"
    )
    said = []
    for threads in ("1", "2"):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1]
    assert len(said[0].strip()) == 64


def test_a_residual_is_given(found: Registration) -> None:
    """The disagreement of the two directions is a small positive length."""
    assert 0 < found.residual_mm < 3


def test_bones_move_each_on_its_own(bent: list[PhantomVisit], straightened: Registration) -> None:
    """Articulated: with a knee bent by 20 degrees, landmarks land within one voxel, and the map does not fold."""
    found = straightened
    assert errors(found, bent).mean() < 1.8
    points = bent[0].landmarks_mm
    steps = [(found.from_baseline(points + step) - found.from_baseline(points - step)) / 2 for step in np.eye(3)]
    assert np.linalg.det(np.stack(steps, axis=2)).min() > 0.2


def test_bone_keeps_its_shape(bent: list[PhantomVisit], straightened: Registration) -> None:
    """Distances between landmarks on one bone change alike and by growth, within 2 %, though the knee bends."""
    on_bone = bent[0].landmarks_mm[bent[0].landmark_tissue == "bone"]
    above = on_bone[on_bone[:, 2] > np.median(on_bone[:, 2]) + 30.0]
    above = above[above[:, 0] < 0]
    before, after = (
        np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)]
        for points in (above, straightened.from_baseline(above))
    )
    far = before > 20.0
    ratio = after[far] / before[far]
    assert len(ratio) > 20
    assert abs(np.median(ratio) - bent[1].motion.growth) < 0.02
    assert np.std(ratio) < 0.02


@pytest.mark.slow
def test_a_leg_is_not_laid_on_the_other() -> None:
    """With a knee bent by 30 degrees, a straight leg lies better on the other one, until both may bend."""
    visits = phantom.series("limb", seed=302, visits=2, bend_deg=(0.0, 30.0), spacing_mm=(1.6, 1.6, 2.4), lesions=())
    found = monitor.register(visits[0].scan, visits[1].scan)
    assert errors(found, visits).mean() < 2.5 * 1.6


@pytest.mark.parametrize(
    ("axis", "degrees"),
    [
        ((1.0, 0.3, 0.0), 180.0),
        pytest.param((0.2, 0.1, 1.0), 170.0, marks=pytest.mark.slow),
        pytest.param((1.0, 2.0, -1.0), 115.0, marks=pytest.mark.slow),
    ],
)
def test_any_pose_is_found(pair: list[PhantomVisit], axis: tuple[float, float, float], degrees: float) -> None:
    """Start: a body turned round or lying feet first is found, to a fraction of a voxel."""
    turn = Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * np.deg2rad(degrees)).as_matrix()
    moved, matrix = posed(pair[0].scan, turn)
    found = monitor.register(pair[0].scan, moved)
    points = pair[0].landmarks_mm
    assert np.linalg.norm(found.from_baseline(points) - grid.apply_affine(matrix, points), axis=1).mean() < 1.0


@pytest.mark.slow
def test_turned_legs_are_not_laid_on_each_other() -> None:
    """Start: two legs turned by 136 degrees, where two dozen poses that lay one on the other correlate better."""
    legs = phantom.series("limb", seed=77, visits=1, lesions=())[0].scan
    pair = turned("legs", legs, seed=417, degrees=float(np.linspace(10.0, 180.0, 24)[17]))
    found = monitor.register(pair.fixed, pair.moving)
    gap = found.from_baseline(pair.body_mm) - pair.truth.from_baseline(pair.body_mm)
    assert np.linalg.norm(gap, axis=1).mean() < 1.0


@pytest.mark.parametrize("way", ["part of the whole", pytest.param("whole onto the part", marks=pytest.mark.slow)])
def test_a_part_is_found_in_the_whole(pair: list[PhantomVisit], way: str) -> None:
    """Partial fields: a third of a thigh lies in the whole one, either way round."""
    whole, later = pair[0].scan, pair[1].scan
    depth = later.image.GetSize()[2]
    part = Scan(later.image[:, :, depth // 3 : 2 * depth // 3])
    one, two = (whole, part) if way == "part of the whole" else (part, whole)
    found = monitor.register(one, two)
    points = pair[1].landmarks_mm
    kept = grid.inside(part.image, points)
    there = found.to_baseline(points[kept]) if one is whole else found.from_baseline(points[kept])
    assert kept.sum() > 50
    assert np.linalg.norm(there - pair[0].landmarks_mm[kept], axis=1).mean() < 1.2


@pytest.mark.slow
def test_lesions_that_come_and_go_do_not_pull(request: pytest.FixtureRequest) -> None:
    """Near lesions the error is no larger than far from them, and the local volume change is that of growth."""
    visits = phantom.series("limb", seed=31, visits=2, spacing_mm=(1.1, 1.1, 1.6))
    found = monitor.register(visits[0].scan, visits[1].scan)
    body = grid.to_mm(visits[0].scan.image, np.argwhere(visits[0].body)[::97])
    body = body[grid.inside(visits[1].scan.image, visits[1].from_baseline(body))]
    error = np.linalg.norm(found.from_baseline(body) - visits[1].from_baseline(body), axis=1)
    spots = grid.to_mm(visits[0].scan.image, np.argwhere(visits[0].mineral)[::7])
    gap = np.sqrt(((body[:, None] - spots[None]) ** 2).sum(axis=2)).min(axis=1)
    assert error[gap < 12.0].mean() < 1.1 * error[gap > 12.0].mean() + 0.1


def test_another_body_part_is_refused(pair: list[PhantomVisit], bent: list[PhantomVisit]) -> None:
    """Knees are no thigh."""
    with pytest.raises(RegistrationError, match="must"):
        monitor.register(pair[0].scan, bent[0].scan)


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.2, 6.0])
def test_values_that_are_no_hu_are_registered(pair: list[PhantomVisit], gain: float) -> None:
    """Invariance: an image in arbitrary units, dark outside, is registered as the CT is, whatever its gain."""
    scans = []
    for visit in pair:
        tissue = np.clip(visit.scan.array, -200, 400) + 250.0
        values = np.where(visit.body, tissue, 20.0) * gain
        image = grid.image_like(values.astype(np.float32), visit.scan.image)
        scans.append(Scan(image, modality="MR", unit="a.u."))
    assert errors(monitor.register(*scans), pair).mean() < 1.2


@pytest.mark.slow
def test_noise_is_refused(pair: list[PhantomVisit]) -> None:
    """A follow-up of uniform noise in a box is no thigh."""
    rng = np.random.default_rng(0)
    other = sitk.GetImageFromArray(rng.integers(-300, 300, (40, 40, 40)).astype(np.int16))
    other.SetSpacing((3.0, 3.0, 3.0))
    with pytest.raises(RegistrationError, match="must"):
        monitor.register(pair[0].scan, Scan(other))


def test_pictures_show_what_was_not_seen_as_missing(pair: list[PhantomVisit], found: Registration) -> None:
    """Resampled for looking: the lattice covers the baseline, and outside the follow-up is NaN."""
    image, before, after = for_looking(pair[0].scan, pair[1].scan, found)
    assert grid.array(image).shape == before.shape == after.shape
    assert np.isnan(after).any()


def test_two_maps_are_joined_into_one(pair: list[PhantomVisit], found: Registration) -> None:
    """Truth: through another visit, points go where the two maps take them one after the other, both ways."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.0, 0.0, 0.2]).as_matrix()
    turn[:3, 3] = (4.0, -2.0, 1.0)
    joined = through(found, Registration(turn, residual_mm=0.4, residual_hi_mm=0.6, method="turn"), "V1")
    points = pair[0].landmarks_mm
    there = grid.apply_affine(turn, found.from_baseline(points))
    assert np.abs(joined.from_baseline(points) - there).max() < 0.02
    assert np.abs(joined.to_baseline(there) - points).max() < 0.1
    assert joined.residual_mm == pytest.approx(np.hypot(found.residual_mm, 0.4))
    assert joined.method == "through V1: turn"


@pytest.mark.slow
def test_a_mirrored_scan_is_refused() -> None:
    """A trunk has a side: mirrored, it is refused by that name, though its bones and skin match well."""
    visits = phantom.series("gaci", seed=40, visits=2, spacing_mm=(1.6, 1.6, 2.4))
    later = visits[1].scan
    mirrored = Scan(grid.image_like(np.ascontiguousarray(later.array[:, :, ::-1]), later.image))
    with pytest.raises(RegistrationError, match="mirror image"):
        monitor.register(visits[0].scan, mirrored)


def ramp(shape: tuple[int, int, int], side_mm: float) -> Scale:
    """Return a scale whose HU is 2 x - y + 3 z at each place in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * side_mm
    matrix[:3, 3] = (5.0, -3.0, 2.0)
    places = grid.apply_affine(matrix, np.indices(shape).reshape(3, -1).T)
    hu = (places @ [2.0, -1.0, 3.0]).reshape(shape).astype(np.float32)
    return Scale(hu, np.ones(shape, bool), np.zeros(shape, bool), matrix)


@pytest.mark.parametrize("voxel_mm", [2.0, 3.0, 5.0])
def test_a_coarser_scale_shows_the_same_places(voxel_mm: float) -> None:
    """Truth: a ramp stays the same ramp at its places, away from the border, whatever the size of the voxel."""
    fine = ramp((31, 40, 37), 1.0)
    coarse = scales.coarser(fine, voxel_mm)
    places = grid.apply_affine(coarse.matrix, np.indices(coarse.hu.shape).reshape(3, -1).T)
    inner = np.zeros(coarse.hu.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    wanted = (places @ [2.0, -1.0, 3.0]).reshape(coarse.hu.shape)
    assert coarse.voxel_mm == voxel_mm
    assert np.abs(coarse.hu - wanted)[inner].max() < 0.01


def test_what_does_not_count_does_not_leak() -> None:
    """A coarser scale is the same whatever stands where the finer one must not look."""
    one = ramp((20, 20, 20), 1.0)
    one.hu[8:12, 8:12, 8:12] = np.nan
    coarse = scales.coarser(one, 2.0)
    flat = replace(one, hu=np.where(np.isnan(one.hu), np.float32(np.nan), np.float32(7.0)))
    assert np.isnan(coarse.hu).any()
    assert np.nanmax(np.abs(scales.coarser(flat, 2.0).hu - 7.0)) < 1e-4


def test_the_gradient_is_in_hu_a_mm_along_x_y_and_z() -> None:
    """Truth: the ramp's own slopes, whatever the size of the voxel and the order of axes."""
    gradient = ramp((6, 7, 8), 2.5).gradient
    assert np.allclose(gradient.reshape(3, -1).T, [2.0, -1.0, 3.0], atol=1e-4)


def test_outliers_count_for_nothing() -> None:
    """A few large differences among small ones have no weight, and unseen points have none."""
    gap = np.concatenate([np.random.default_rng(0).normal(0, 20, 500), [900.0, np.nan]]).astype(np.float32)
    weight = match.weights(gap, np.zeros((502, 3), np.float32), 1.0)
    assert weight[500] == weight[501] == 0.0
    assert np.median(weight[:500]) > 0.0


def test_nodes_carry_linear_fields_exactly() -> None:
    """Truth: a linear function of place, given at the nodes, is itself at any point inside."""
    lattice = bend.Lattice.over(ramp((20, 24, 28), 1.5), 6.0)
    points = np.random.default_rng(1).uniform((6, -2, 3), (40, 30, 28), (50, 3))
    turn = np.array([[0.1, 0.2, 0.0], [0.0, -0.1, 0.3], [0.2, 0.0, 0.1]])
    carried = lattice.spread(points) @ (lattice.nodes_mm @ turn.T)
    assert np.allclose(carried, points @ turn.T, atol=1e-4)
    assert np.allclose(lattice.sampled(lattice.nodes_mm @ turn.T, points), points @ turn.T, atol=1e-6)


def test_the_solver_solves() -> None:
    """Truth: the same as a dense solution of the same equations."""
    rng = np.random.default_rng(2)
    line = sparse.diags([-1.0, 2.5, -1.0], [-1, 0, 1], shape=(12, 12)).tocsr()
    half = rng.normal(size=(12, 3, 3))
    blocks = half @ half.transpose(0, 2, 1)
    force = rng.normal(size=(12, 3))
    whole = np.kron(line.toarray(), np.eye(3))
    for number, block in enumerate(blocks):
        whole[3 * number : 3 * number + 3, 3 * number : 3 * number + 3] += block
    wanted = np.linalg.solve(whole, force.ravel()).reshape(-1, 3)
    assert np.abs(bend._solved(line, blocks, force) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_turns_cover_all_turns() -> None:
    """Every turn has a neighbour within 35 degrees, which the coarse optimisation bridges."""
    spread = Rotation.from_matrix(start._turns())
    asked = Rotation.random(200, random_state=np.random.default_rng(3))
    nearest = [float((spread * one.inv()).magnitude().min()) for one in asked]
    assert np.rad2deg(max(nearest)) < 37.0


def test_a_large_scan_is_averaged_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Truth: blocks of a ramp have the ramp's value at the places that the matrix gives; mineral is left out."""
    image = sitk.GetImageFromArray(np.zeros((21, 40, 44), np.int16))
    image.SetSpacing((1.0, 1.0, 1.0))
    image.SetOrigin((5.0, -3.0, 2.0))
    places = grid.to_mm(image, np.indices((21, 40, 44)).reshape(3, -1).T)
    hu = np.rint(places @ [4.0, -2.0, 6.0]).reshape(21, 40, 44).astype(np.int16)
    scan = Scan(grid.image_like(hu, image))
    everywhere, nowhere = np.ones(hu.shape, bool), np.zeros(hu.shape, bool)
    spot = nowhere.copy()
    spot[10, 20, 22] = True
    anatomy = Anatomy(everywhere, nowhere, nowhere, 10.0, 40.0, np.full((1, 1, 1), 10.0))
    monkeypatch.setattr(scales, "MOST_VOXELS", hu.size / 8)
    coarse = scales.prepare(scan, anatomy, spot)
    assert coarse.hu.shape == (10, 20, 22)
    assert np.isnan(coarse.hu[5, 10, 11])
    there = grid.apply_affine(coarse.matrix, np.indices(coarse.hu.shape).reshape(3, -1).T)
    wanted = np.clip(there @ [4.0, -2.0, 6.0], *scales.WINDOW_HU).reshape(coarse.hu.shape)
    seen = np.isfinite(coarse.hu)
    assert seen.mean() > 0.95
    assert np.abs(coarse.hu - wanted)[seen].max() < 1.0
