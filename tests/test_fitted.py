"""Limits of a fitted line, against statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm

from monitor import fitted


@pytest.mark.parametrize("seed", range(5))
def test_the_limits_are_those_of_weighted_least_squares(seed):
    """From level, rate and weights alone comes what the covariance of the fit gives."""
    rng = np.random.default_rng(seed)
    years, width = np.sort(rng.uniform(-1, 4, 6)), rng.uniform(0.5, 3, 6)
    fit = sm.WLS(2 + years + rng.normal(size=6), sm.add_constant(years), weights=width**-2.0).fit()
    level, rate = np.diff(fit.conf_int(), axis=1).ravel() / 2
    times = np.linspace(-2, 5, 15)
    found = fitted.half_width(times, about=fitted.weighted_mean(years, width), level=level, rate=rate)
    wanted = fit.get_prediction(sm.add_constant(times)).conf_int()
    assert found == pytest.approx(np.diff(wanted, axis=1).ravel() / 2, rel=1e-9)


def test_without_a_level_the_limits_are_those_of_the_rate():
    """They meet at the mean time, and open from there."""
    assert fitted.half_width([1.0, 3.0], about=1.0, level=float("nan"), rate=2.0).tolist() == [0.0, 4.0]
