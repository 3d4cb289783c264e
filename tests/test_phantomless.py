"""The HU scale by air, fat and muscle: attenuation from the elements, known distortions, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest

from monitor import anatomy, burden, grid, lesions
from monitor._burden import phantomless
from monitor._burden.phantomless import Tissues
from monitor.types import Acquisition, Scan
from tests.made import AIR_HU, FAT_HU, MUSCLE_HU, Ball, limb

NODULE = Ball((12.3, -6.2, 0.4), 5.0)

ELEMENTS_60_KEV = {
    "H": 0.3260,
    "C": 0.1753,
    "N": 0.1817,
    "O": 0.1907,
    "Na": 0.2199,
    "P": 0.3022,
    "S": 0.3585,
    "Cl": 0.3901,
    "K": 0.5684,
}
"""Mass attenuation of elements at 60 keV, cm²/g (NIST, table 3)."""

SHARES = {
    "water": {"H": 0.1119, "O": 0.8881},
    "fat": {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001},
    "muscle": dict(zip(ELEMENTS_60_KEV, (0.102, 0.143, 0.034, 0.710, 0.001, 0.002, 0.003, 0.001, 0.004), strict=True)),
}
"""Composition by mass of ICRU-44 (NIST, table 2)."""


def measured(scan: Scan) -> Tissues:
    found = anatomy.find(scan)
    return phantomless.measured(scan, found, lesions.find(scan, found))


def rescaled(scan: Scan, steep: float, level: float) -> Scan:
    """Return a scan whose HU scale is distorted."""
    hu = np.rint(scan.array * steep + level).astype(np.int16)
    return replace(scan, image=grid.image_like(hu, scan.image))


@pytest.mark.parametrize("name", ["water", "fat", "muscle"])
def test_attenuation_is_that_of_the_elements(name):
    """Independent value: the mixture rule over elements gives the table's attenuation within 0.3 %."""
    table = {
        "water": phantomless.WATER_CM2_PER_G,
        "fat": phantomless.FAT_CM2_PER_G,
        "muscle": phantomless.MUSCLE_CM2_PER_G,
    }
    mixed = sum(share * ELEMENTS_60_KEV[element] for element, share in SHARES[name].items())
    assert table[name][1] == pytest.approx(mixed, rel=0.003)


def test_references_lie_where_tissues_are_measured():
    """Fat and muscle at every voltage lie within two of their SDs of what scans show; fat is darker at low voltage."""
    fat = [phantomless.references(kvp).fat for kvp in sorted(phantomless.EFFECTIVE_KEV)]
    assert fat == sorted(fat)
    assert abs(phantomless.references(120.0).fat - -100) < 2 * phantomless.FAT_SD_HU
    assert abs(phantomless.references(120.0).muscle - 55) < 2 * phantomless.MUSCLE_SD_HU


def test_energies_are_those_of_the_rows():
    """Published value: the HU of cortical bone rise from voltage to voltage as the rows do, within 2 %."""
    bone_cm2_per_g = (0.4242, 0.3148, 0.2229)

    def bone_hu(kvp: float) -> float:
        # Of ICRU-44, 1.92 g/cm³ (NIST, table 4).
        energy = phantomless.EFFECTIVE_KEV[kvp]
        water = phantomless._attenuation(energy, phantomless.WATER_CM2_PER_G)
        return 1000 * (1.92 * phantomless._attenuation(energy, bone_cm2_per_g) / water - 1)

    rows = burden.scores.AGATSTON_ROWS_HU
    assert set(rows) == set(phantomless.EFFECTIVE_KEV)
    for kvp, row in rows.items():
        assert bone_hu(kvp) / bone_hu(120.0) == pytest.approx(row[0] / rows[120.0][0], rel=0.02)


def test_tissues_of_a_limb_are_found():
    """Air and muscle of the limb within 2 HU, 5 mm of fat within 6, beside bone, table and a lesion, at any noise."""
    for noise in (2.0, 8.0, 25.0):
        found = measured(limb([NODULE], noise_hu=noise))
        assert [found.air, found.muscle] == pytest.approx([AIR_HU, MUSCLE_HU], abs=2)
        assert found.fat == pytest.approx(FAT_HU, abs=6)


def test_a_clipped_scale_does_not_move_air():
    """Values below -1024 are cut off by the file; the median of air stays."""
    found = measured(limb([NODULE], noise_hu=30.0))
    assert found.air == pytest.approx(AIR_HU, abs=3)


@pytest.mark.parametrize(("steep", "level"), [(1 / 1.06, -8.0), (1.0, 12.0), (0.95, 0.0)])
def test_a_distorted_scale_is_mended(steep, level):
    """Closed form: a scale drawn together by a factor gives a slope larger by it, and the mass by tissue stays."""
    scan = limb([NODULE])
    odd = rescaled(scan, steep, level)
    slopes = [phantomless.slope(measured(each), 120.0) for each in (scan, odd)]
    assert slopes[1] / slopes[0] == pytest.approx(1 / steep, rel=0.01)
    found = anatomy.find(scan)
    pieces = lesions.find(scan, found)
    true, off = (burden.measure(each, found, pieces).iloc[0] for each in (scan, odd))
    assert off["mass_mg"] == pytest.approx(true["mass_mg"] * steep, rel=0.01)
    assert off["mass_tissue_mg"] == pytest.approx(true["mass_tissue_mg"], rel=0.015)
    assert true["mass_tissue_mg"] == pytest.approx(true["mass_mg"] * slopes[0])


def test_the_error_of_the_slope_in_closed_form():
    """The SD of a weighted line's slope, from the SDs of the references at 120 kV."""
    known = phantomless.references(120.0)
    weight = np.array([phantomless.AIR_SD_HU, phantomless.FAT_SD_HU, phantomless.MUSCLE_SD_HU]) ** -2.0
    x = np.array([known.air, known.fat, known.muscle])
    spread = (weight * (x - np.average(x, weights=weight)) ** 2).sum()
    assert spread**-0.5 == pytest.approx(phantomless.SLOPE_SD, rel=0.03)


def test_tissue_that_is_something_else_gives_no_mass():
    """Closed form: muscle and fat differ in SD by 22.4 HU; 80 HU more apart than they should are NaN, 60 are not."""
    known = phantomless.references(120.0)
    assert isnan(phantomless.slope(replace(known, fat=known.fat - 40, muscle=known.muscle + 40), 120.0))
    assert np.isfinite(phantomless.slope(replace(known, fat=known.fat - 30, muscle=known.muscle + 30), 120.0))
    assert phantomless.slope(known, 120.0) == pytest.approx(1.0)


def test_what_cannot_be_measured_is_not_guessed():
    """Without fat, without air, with air at the floor of the scale or at an unknown voltage, the mass is missing."""
    scan = limb([NODULE])
    found = anatomy.find(scan)
    pieces = lesions.find(scan, found)
    lean = np.where((scan.array > -300) & (scan.array < 0), MUSCLE_HU, scan.array).astype(np.int16)
    floor = np.where(scan.array < -900, -1024, scan.array).astype(np.int16)
    middle = np.s_[:, 12:72, 14:66]
    for hu, missing in ((lean, "fat"), (floor, "air")):
        odd = replace(scan, image=grid.image_like(hu, scan.image))
        assert isnan(getattr(phantomless.measured(odd, found, pieces), missing))
        assert isnan(burden.measure(odd, found, pieces).iloc[0]["mass_tissue_mg"])
    close = scan.image[14:66, 12:72, :]
    inner = replace(scan, image=close)
    masks = {name: getattr(found, name)[middle] for name in ("body", "skeleton", "left_out")}
    cut = replace(pieces, labels=pieces.labels[middle], left_out=None)
    assert isnan(phantomless.measured(inner, replace(found, **masks), cut).air)
    assert isnan(phantomless.slope(measured(scan), nan))
    unknown = replace(scan, acquisition=Acquisition(kvp=nan))
    assert isnan(burden.measure(unknown, found, pieces).iloc[0]["mass_tissue_mg"])


def test_a_mixture_is_no_tissue():
    """Values spread evenly over the window of fat have no peak; a narrow one on the same floor has."""
    even = np.linspace(-150, -30, 4000)
    assert isnan(phantomless._peak(even, phantomless.FAT_HU, 1.0))
    peak = np.concatenate([even, np.random.default_rng(0).normal(-98, 6, 8000)])
    assert phantomless._peak(peak, phantomless.FAT_HU, 1.0) == pytest.approx(-98, abs=1.5)
    assert isnan(phantomless._peak(peak[:500], phantomless.FAT_HU, 1.0))


def test_thick_or_thin_slices_give_the_same_tissues():
    """Invariance: of thin slices only some are asked, which changes nothing."""
    thin, thick = (measured(limb([NODULE], spacing_mm=(1.0, 1.0, step), slices=int(40 / step))) for step in (1.0, 4.0))
    assert [thin.air, thin.fat, thin.muscle] == pytest.approx([thick.air, thick.fat, thick.muscle], abs=2)
