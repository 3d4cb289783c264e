"""Calcium scores against hand-worked cubes, balls and rods, and against a slow count without arrays."""

from __future__ import annotations

from collections.abc import Iterable
from math import erf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monitor import anatomy, burden, growth, lesions, store, words
from monitor._burden import scores
from monitor._burden.scores import AGATSTON_ROWS_HU, VARIANTS, Variant, agatston
from monitor._record import changes
from monitor.types import Findings
from tests.made import Ball, limb


def cube() -> tuple[np.ndarray, np.ndarray]:
    """4 x 4 x 4 voxels of 250 HU, slices of 1.5 mm, pixels of 0.5 mm."""
    image = np.zeros((6, 8, 8))
    image[1:5, 2:6, 2:6] = 250
    return image, np.array([1.5, 0.5, 0.5])


def ball() -> tuple[np.ndarray, np.ndarray]:
    """All voxels within 4 voxels of the centre, 150 HU, within 2 voxels 450 HU; slices of 2 mm, pixels of 1 mm."""
    z, y, x = np.mgrid[-5:6, -5:6, -5:6]
    away2 = z**2 + y**2 + x**2
    return np.select([away2 <= 4, away2 <= 16], [450.0, 150.0], 0.0), np.array([2.0, 1.0, 1.0])


def rod() -> tuple[np.ndarray, np.ndarray]:
    """6 pixels that touch at corners, in three slices of 1.5 mm: 320, 320 and 150 HU; pixels of 0.8 mm."""
    image = np.zeros((5, 8, 8))
    for z, hu in ((1, 320), (2, 320), (3, 150)):
        image[z, np.arange(1, 7), np.arange(1, 7)] = hu
    return image, np.array([1.5, 0.8, 0.8])


BY_HAND = {
    # Each of 4 slices: 16 x 0.25 mm² = 4 mm², weight 2: 32 in all, half of it at 1.5 mm. All rules agree but for scale.
    cube: {**dict.fromkeys(VARIANTS, 16.0), "agatston_unscaled": 32.0, "agatston_2d4_unscaled": 32.0},
    # Points of circles: 49 in the middle, then twice 45, 37, 21 and 1 mm². The core reaches two slices to each side:
    # 4 x (49 + 90 + 74) + 1 x (42 + 2) = 896; without the two single pixels 894; all with weight 4: 4 x 257 = 1028.
    ball: {
        **dict.fromkeys(VARIANTS, 896 * 2 / 3),
        "agatston_4px": 894 * 2 / 3,
        "agatston_3d_peak": 1028 * 2 / 3,
        "agatston_unscaled": 896.0,
        "agatston_2d4_unscaled": 896.0,
    },
    # A slice has 6 x 0.64 = 3.84 mm²; weights 3, 3 and 1: 26.88, half of it at 1.5 mm. By the lesion's peak 3, 3, 3.
    # Over edges alone there are 18 pixels of 0.64 mm², all too small.
    rod: {
        **dict.fromkeys(VARIANTS, 13.44),
        "agatston_3d_peak": 17.28,
        "agatston_unscaled": 26.88,
        "agatston_2d4": 0.0,
        "agatston_2d4_unscaled": 0.0,
    },
}


@pytest.mark.parametrize("shape", BY_HAND, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("name", VARIANTS)
def test_known_shapes_by_hand(shape, name):
    """Closed form: a cube, a ball and a rod have the score that pencil and paper give, in every variant."""
    image, spacing = shape()
    assert agatston(image, spacing, variant=VARIANTS[name]) == pytest.approx(BY_HAND[shape][name])


@pytest.mark.parametrize("shape", [cube, ball, rod], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("name", VARIANTS)
def test_known_shapes_without_arrays(shape, name):
    """Independent value: the same shapes by a flood fill over a set of voxels."""
    image, spacing = shape()
    assert agatston(image, spacing, variant=VARIANTS[name]) == pytest.approx(slow(image, spacing, VARIANTS[name]))


@pytest.mark.parametrize("name", VARIANTS)
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31 - 1),
    kvp=st.sampled_from(sorted(AGATSTON_ROWS_HU)),
    pixel=st.sampled_from([0.4, 0.6, 1.1]),
)
def test_any_image_without_arrays(name, seed, kvp, pixel):
    """Property: of any image each variant has what the flood fill counts, at each voltage."""
    rough = np.random.default_rng(seed).normal(60, 500, (4, 9, 9))
    image = np.rint(ndimage.gaussian_filter(rough, [0.5, 0.6, 0.6]))
    spacing = np.array([1.25, pixel, pixel])
    known = slow(image, spacing, VARIANTS[name], kvp=kvp)
    assert agatston(image, spacing, kvp=kvp, variant=VARIANTS[name]) == pytest.approx(known)


def slow(image: np.ndarray, spacing: np.ndarray, rule: Variant, kvp: float = 120.0) -> float:
    """Score an image voxel by voxel."""
    row = AGATSTON_ROWS_HU[kvp] if rule.by_kvp else (130, 200, 300, 400)
    hu = {tuple(map(int, at)): float(image[tuple(at)]) for at in np.argwhere(image >= row[0])}
    edges = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0)]
    corners = [(0, 1, 1), (0, 1, -1), (0, -1, 1), (0, -1, -1)]
    around = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)]
    whole_of = {at: piece for piece in pieces(set(hu), around) for at in piece}
    total = 0.0
    for region in pieces(set(hu), edges if rule.neighbours == 4 else edges + corners):
        area = len(region) * spacing[1] * spacing[2]
        if area < rule.least_mm2 - 1e-9 or len(region) < rule.least_pixels:
            continue
        judged = whole_of[next(iter(region))] if rule.peak == "lesion" else region
        peak = max(hu[at] for at in judged)
        total += area * sum(peak >= bound for bound in row) * (spacing[0] / 3 if rule.scaled else 1)
    return float(total)


def pieces(
    left: set[tuple[int, int, int]], steps: Iterable[tuple[int, int, int]]
) -> list[frozenset[tuple[int, int, int]]]:
    """Take connected pieces out of a set of voxels until none is left."""
    found = []
    while left:
        edge = [left.pop()]
        piece = set(edge)
        while edge:
            z, y, x = edge.pop()
            beside = {(z + dz, y + dy, x + dx) for dz, dy, dx in steps} & left
            left -= beside
            piece |= beside
            edge += beside
        found.append(frozenset(piece))
    return found


@pytest.mark.parametrize("shape", [cube, ball, rod], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("name", VARIANTS)
def test_slices_cut_in_two(shape, name):
    """Invariance: twice as many slices half as far apart leave a scaled score as it is and double an unscaled one."""
    image, spacing = shape()
    whole = agatston(image, spacing, variant=VARIANTS[name])
    cut = agatston(image.repeat(2, axis=0), spacing * [0.5, 1, 1], variant=VARIANTS[name])
    assert cut == pytest.approx(whole if VARIANTS[name].scaled else 2 * whole)


@pytest.mark.parametrize("name", VARIANTS)
def test_place_and_direction_do_not_matter(name):
    """Invariance: a ball and a rod in one image, moved, mirrored and with the axes of the slice exchanged."""
    image = np.zeros((13, 24, 24))
    image[:11, :11, :11] = ball()[0]
    image[6:11, 14:22, 14:22] = rod()[0]
    spacing = np.array([2.0, 0.9, 0.9])
    whole = agatston(image, spacing, variant=VARIANTS[name])
    assert whole > 0
    for other in (np.roll(image, (1, 1, 2), (0, 1, 2)), image[::-1], image[:, ::-1], image.transpose(0, 2, 1)):
        assert agatston(other, spacing, variant=VARIANTS[name]) == pytest.approx(whole)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_voltage_without_a_row_has_no_score(name):
    """Where rows are asked 90 and 140 kV give NaN, never a silent 120; an unknown voltage is 120 by the contract."""
    image, spacing = cube()
    for kvp in (90.0, 140.0):
        assert isnan(agatston(image, spacing, kvp=kvp, variant=VARIANTS[name])) == VARIANTS[name].by_kvp
    unknown = agatston(image, spacing, kvp=nan, variant=VARIANTS[name])
    assert unknown == agatston(image, spacing, kvp=120.0, variant=VARIANTS[name])


def test_low_voltages_weigh_by_their_rows():
    """Published values: 250 HU weigh 1 at 80 kV (2 from 271 HU), where the bins of 1990 say 2."""
    image, spacing = cube()
    score = {name: agatston(image, spacing, kvp=80.0, variant=variant) for name, variant in VARIANTS.items()}
    assert (score["agatston"], score["agatston_unscaled"], score["agatston_130hu"]) == (8.0, 16.0, 16.0)


def test_every_rule_says_what_it_does():
    """No two quantities have one rule; variants that differ in a field differ in the words for it."""
    assert len({*burden.RULES.values()}) == len(burden.RULES)
    assert set(burden.RULES) == set(burden.UNITS)
    assert VARIANTS["agatston_4px"].rule_id.startswith(
        "agatston:2D8,>=4px,peak-in-slice,increment/3mm,130/200/300/400HU"
    )
    assert "peak-in-3D26-lesion" in VARIANTS["agatston_3d_peak"].rule_id
    assert "not-scaled-by-increment" in VARIANTS["agatston_2d4_unscaled"].rule_id
    assert all(variant.used_by for variant in VARIANTS.values())


# --- what is counted beside them -------------------------------------------------------------------------------------


def iso(image: np.ndarray, spacing: np.ndarray, threshold_hu: float) -> float:
    return scores.isotropic_volume_mm3(image, np.ones(image.shape, bool), spacing, threshold_hu=threshold_hu)


def test_the_interpolated_volume_of_a_cube():
    """Closed form: 3 slices of 3 mm are cut in three; at half of its HU the cube is as long as it was, below longer."""
    image = np.zeros((7, 8, 8))
    image[2:5, 2:6, 2:6] = 600
    spacing = np.array([3.0, 1.0, 1.0])
    assert iso(image, spacing, 300) == pytest.approx(16 * 9)
    # At a third of the way between centres HU are 400 within and 200 without: each end gains 1 mm, or loses it.
    assert iso(image, spacing, 199) == pytest.approx(16 * 11)
    assert iso(image, spacing, 401) == pytest.approx(16 * 7)


@pytest.mark.parametrize("shape", [cube, ball, rod], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.7, 1.4, 2.1)])
def test_the_interpolated_volume_of_an_independent_sampler(shape, spacing):
    """Independent value: the same count from scipy's sampler at the centres of the cut voxels."""
    image = shape()[0]
    cuts = np.round(np.array(spacing) / min(spacing)).astype(int)
    centres = np.meshgrid(
        *[(np.arange(n * c) + 0.5) / c - 0.5 for n, c in zip(image.shape, cuts, strict=True)], indexing="ij"
    )
    fine = ndimage.map_coordinates(image, centres, order=1, mode="nearest")
    # 130.3 HU is no value that halves and thirds of the shapes' HU make.
    assert iso(image, np.array(spacing), 130.3) == pytest.approx((fine >= 130.3).sum() * np.prod(spacing / cuts))


def test_interpolated_volume_counts_only_where_it_may():
    """A neighbour's mineral in the box does not count."""
    image, spacing = np.full((2, 2, 2), 500.0), np.array([2.0, 1.0, 1.0])
    may = np.zeros((2, 2, 2), bool)
    may[0, 0, 0] = True
    assert scores.isotropic_volume_mm3(image, may, spacing, threshold_hu=130) == pytest.approx(2.0)


def weighted(image: np.ndarray, spacing: np.ndarray, **how: float) -> float:
    there = np.ones(image.shape, bool)
    return scores.spatially_weighted_mm3(image, there, spacing, **{"kvp": 120.0, "noise_hu": 20.0, **how})


@pytest.mark.parametrize("shape", [cube, ball, rod], ids=lambda shape: shape.__name__)
def test_the_spatially_weighted_score_of_known_shapes(shape):
    """Closed form: each voxel's normal distribution about 129.87 HU, times its volume; neighbours lose nothing."""
    image, spacing = shape()
    image = np.pad(image, 1)
    by_hand = sum((image == hu).sum() * normal((hu - 100 / 0.77) / 20) for hu in np.unique(image[image > 0]))
    assert weighted(image, spacing) == pytest.approx(by_hand * np.prod(spacing), rel=1e-4)
    assert weighted(image.repeat(2, axis=0), spacing * [0.5, 1, 1]) == pytest.approx(weighted(image, spacing))


def normal(z: float) -> float:
    return (1 + erf(z / sqrt(2))) / 2


def test_the_spatially_weighted_score_follows_the_voltage():
    """The insert's HU rise with the row: at 100 kV 145/0.77/1.3 HU weigh half; 140 kV has no score, unknown is 120."""
    image = np.full((1, 3, 3), -900.0)
    image[0, 1, 1] = 145 / 0.77 / 1.3
    spacing = np.ones(3)
    assert weighted(image, spacing, kvp=100.0) == pytest.approx(0.5)
    assert isnan(weighted(image, spacing, kvp=140.0))
    assert weighted(image, spacing, kvp=nan) == weighted(image, spacing)
    assert 0 <= weighted(image, spacing, noise_hu=0.0) <= 1


def test_noise_weighs_in_the_spatially_weighted_score():
    """What it counts of plain muscle: nothing at 10 HU of noise, some at 40; its rule says that the SD is the noise."""
    muscle = np.full((1, 20, 20), 55.0)
    quiet, noisy = (weighted(muscle, np.ones(3), noise_hu=noise) for noise in (10.0, 40.0))
    assert quiet < 0.001 * muscle.size < 0.02 * muscle.size < noisy
    assert "SD=noise-of-scan" in burden.RULES["spatially_weighted_mm3"]


# --- as the line measures them ---------------------------------------------------------------------------------------

TWO = [Ball((10.0, -8.0, 0.0), 3.0, 600), Ball((16.0, 9.0, 4.0), 4.0, 300)]


def test_a_piece_has_every_score():
    """Independent value: the mass above the threshold is that of the voxels; each score is that of the whole image."""
    scan = limb(TWO, bone=False)
    found = anatomy.find(scan)
    pieces_found = lesions.find(scan, found)
    table = burden.measure(scan, found, pieces_found)
    assert np.isfinite(table[[*burden.SUMMED]].to_numpy(float)).all()
    hu = scan.array.astype(float)
    dense = (pieces_found.labels > 0) & (hu >= pieces_found.threshold_hu)
    assert table["threshold_mass_mg"].sum() == pytest.approx(hu[dense].sum() * 1.5 * 0.77e-3)
    assert table["threshold_volume_iso_mm3"].sum() == pytest.approx(table["threshold_volume_mm3"].sum(), rel=0.1)
    for name, variant in VARIANTS.items():
        assert table[name].sum() == pytest.approx(
            agatston(np.where(found.body, hu, 0), scan.spacing_zyx_mm, variant=variant)
        )


def test_the_numbers_of_pieces_do_not_matter():
    """Invariance: with the labels exchanged each piece has the scores that it had."""
    scan = limb(TWO, bone=False)
    found = anatomy.find(scan)
    one = lesions.find(scan, found)
    other = Findings(np.array([0, 2, 1], np.uint16)[one.labels], one.threshold_hu, one.lod_mm3, one.left_out)
    here, there = (burden.measure(scan, found, each)[[*burden.SUMMED]].to_numpy(float) for each in (one, other))
    assert here == pytest.approx(there[::-1])


def test_a_voltage_without_a_row_leaves_what_needs_none():
    """At 140 kV the scores by rows and all masses are missing, those by fixed bins are there."""
    scan = limb(TWO[:1], bone=False, kvp=140.0)
    found = anatomy.find(scan)
    row = burden.measure(scan, found, lesions.find(scan, found)).iloc[0]
    missing = {name for name in burden.SUMMED if isnan(row[name])}
    by_rows = {name for name, variant in VARIANTS.items() if variant.by_kvp}
    assert missing == by_rows | {"mass_mg", "mass_tissue_mg", "threshold_mass_mg", "spatially_weighted_mm3"}


NORMS = growth.norms(growth.Size(), 1.0, {"aorta": 1.0})

NORMALISED = [f"{name}{norm.suffix}" for norm in NORMS for name in changes.NORMALISED]


def test_the_line_gives_every_quantity(limb_results: store.Results):
    """End to end: every visit and compartment has each quantity once, each with a rule of its own, and sums add up."""
    table = limb_results.tables["burden"]
    table = table[~table["quantity"].isin(NORMALISED)]
    for _, part in table.groupby(["visit_id", "compartment"]):
        assert part["quantity"].tolist() == list(burden.RULES)
    rules = table[["quantity", "rule_id", "unit"]].drop_duplicates()
    assert len(rules) == len(burden.RULES) == rules["rule_id"].nunique()
    total = table[table["compartment"] == "total"].set_index(["visit_id", "quantity"])["value"].unstack()
    assert np.isfinite(total.to_numpy(float)).all()
    assert total["agatston_unscaled"].to_numpy() == pytest.approx((total["agatston"] * 3 / 2.5).to_numpy())
    assert (total["mass_tissue_mg"] / total["mass_mg"]).to_numpy() == pytest.approx(1.0, abs=0.03)
    scored = table[table["quantity"].isin([*VARIANTS, "n_regions"])]
    assert scored[["lo", "hi"]].isna().all(axis=None)


def test_every_quantity_has_a_name_to_print():
    """No quantity of the tables is printed by its code."""
    assert {*burden.RULES, *NORMALISED} == set(words.QUANTITIES) | set(words.BESIDE)
    assert not set(words.QUANTITIES) & set(words.BESIDE)


def test_regions_are_pairs_of_side_and_compartment(limb_results: store.Results):
    """Closed form: at each visit of the limb, the pairs that hold a lesion; all places are seen and evaluable."""
    own = limb_results.tables["lesions"]
    present = own[own["volume_mm3"] > 0].drop_duplicates(["visit_id", "compartment", "side"]).groupby("visit_id").size()
    rows = (
        limb_results.tables["burden"].query("compartment == 'total' and quantity == 'n_regions'").set_index("visit_id")
    )
    assert rows["value"].to_dict() == pytest.approx(present.to_dict())
    assert (rows["evaluable"] == 1).all()
