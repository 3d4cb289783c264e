"""Published limits of change, against the values their papers give."""

from __future__ import annotations

from math import inf, isnan

import pytest

from monitor._change.published import PRESETS

VOLUME = PRESETS["threshold_volume_mm3"]


@pytest.mark.parametrize(
    ("before", "sevrukov", "mesa", "hokanson"),
    [(10, 11, 14, 22), (100, 34, 58, 56), (1_000, 109, 295, 164), (10_000, 344, 2_029, 506)],
)
def test_volumes_of_the_dossier(before, sevrukov, mesa, hokanson):
    """Published values: the limits of volume at a body-mass index of 16, as worked out from the papers beforehand."""
    assert VOLUME["sevrukov"].least(before, before + 1, 16.0) == pytest.approx(sevrukov, abs=0.6)
    # At the mean of both; the table's column is at an unchanged volume.
    assert VOLUME["mesa"].least(before, before, 16.0) == pytest.approx(mesa, abs=0.6)
    assert VOLUME["hokanson"].least(before, before + 1, 16.0) == pytest.approx(hokanson, abs=0.6)


def test_from_nothing():
    """Published values: from zero 11.6 units and 9.5 mm³ count; a share of nothing is not known."""
    assert PRESETS["agatston"]["sevrukov"].least(0.0, 20.0, 16.0) == 11.6
    assert VOLUME["sevrukov"].least(0.0, 20.0, 16.0) == 9.5
    assert VOLUME["hokanson"].least(0.0, 20.0, 16.0) == 6.25
    assert isnan(VOLUME["callister"].least(0.0, 20.0, 16.0))


def test_a_fall_that_cannot_be():
    """Closed form: from 4 mm³, whose root is 2, no fall moves the root by 2.5; from 100 mm³ one to 56.25 does."""
    assert VOLUME["hokanson"].least(4.0, 0.0, 16.0) == inf
    assert VOLUME["hokanson"].least(100.0, 50.0, 16.0) == pytest.approx(43.75)


def test_every_rule_is_another():
    """Invariance: no two limits of a quantity share a rule."""
    for limits in PRESETS.values():
        assert len({limit.rule for limit in limits.values()}) == len(limits)
