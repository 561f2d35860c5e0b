"""Tails against exact fractions, and against SciPy's distributions."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from exporter.analysis.scoring.tails import EXACT_STDDEV, betabinomial_z, log_gamma, negative_binomial_z, normal_z

NORMAL = NormalDist()


def betabinomial_pmf(n: int, a: Fraction, b: Fraction) -> list[Fraction]:
    """By the ratio of neighbours, in exact fractions."""
    terms = [Fraction(1)]
    for k in range(n):
        terms.append(terms[-1] * (n - k) * (k + a) / ((k + 1) * (n - k - 1 + b)))
    total = sum(terms)
    return [term / total for term in terms]


def mid_p_z(pmf: list[Fraction], x: int) -> float:
    upper, lower = sum(pmf[x + 1 :]) + pmf[x] / 2, sum(pmf[:x]) + pmf[x] / 2
    return -NORMAL.inv_cdf(float(upper)) if upper < lower else NORMAL.inv_cdf(float(lower))


def z_of(n, x, p, rho) -> float:
    return float(betabinomial_z(*(np.array([float(each)]) for each in (n, x, p, rho)))[0])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 25, 60])
@pytest.mark.parametrize(("p", "rho"), [(0.05, 0.03), (0.5, 0.1), (0.9, 0.001), (0.01, 0.3), (0.3, 0.9)])
def test_small_betabinomial_tails_are_exact_and_wide_ones_close(n, p, rho):
    size = Fraction(1 - Fraction(rho)) / Fraction(rho)
    pmf = betabinomial_pmf(n, Fraction(p) * size, (1 - Fraction(p)) * size)
    deviation = math.sqrt(n * p * (1 - p) * (1 + (n - 1) * rho))
    for x in range(n + 1):
        wanted = mid_p_z(pmf, x)
        if deviation <= EXACT_STDDEV:
            assert z_of(n, x, p, rho) == pytest.approx(wanted, abs=1e-7)
        elif abs(wanted) < 3.1:
            assert z_of(n, x, p, rho) == pytest.approx(wanted, abs=0.05)


def test_by_hand_one_contact_and_even_odds():
    """x = 1 of 1 at p = ½: upper tail ½ · ½ = ¼, z = 0.6745; x = 0 mirrors it; ρ has no meaning for one contact."""
    assert z_of(1, 1, 0.5, 0.2) == pytest.approx(0.6744897501960817, abs=1e-12)
    assert z_of(1, 0, 0.5, 0.2) == pytest.approx(-0.6744897501960817, abs=1e-12)


@pytest.mark.parametrize("rho", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("p", [0.03, 0.1, 0.4, 0.8])
def test_large_betabinomial_tails_agree_with_scipy(p, rho):
    n = 2000
    x = np.unique(
        stats.betabinom.ppf(stats.norm.cdf(np.arange(-3.0, 4.2, 0.5)), n, p * (1 / rho - 1), (1 - p) * (1 / rho - 1))
    )
    found = betabinomial_z(np.full(x.shape, float(n)), x, np.full(x.shape, p), np.full(x.shape, rho))
    whole = stats.betabinom(n, p * (1 / rho - 1), (1 - p) * (1 / rho - 1))
    wanted = -stats.norm.ppf(whole.sf(x) + whole.pmf(x) / 2)
    apart = np.abs(found - wanted)
    assert apart[(wanted > -1) & (wanted < 3.1)].max() < 0.1
    assert apart.max() < 0.6  # far on the low side of a rare rate, where nothing is flagged


@pytest.mark.parametrize("spread", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("mean", [0.001, 0.5, 4, 30, 900])
def test_negative_binomial_tails_agree_with_scipy(mean, spread):
    size = 1 / spread
    whole = stats.nbinom(size, size / (size + mean))
    x = np.unique(whole.ppf(stats.norm.cdf(np.arange(-3.5, 4.6, 0.5))))
    found = negative_binomial_z(x, np.full(x.shape, float(mean)), np.full(x.shape, spread))
    wanted = np.where(
        x >= mean, -stats.norm.ppf(whole.sf(x) + whole.pmf(x) / 2), stats.norm.ppf(whole.cdf(x) - whole.pmf(x) / 2)
    )
    exact = (mean + spread * mean**2 <= 64) | ((x < mean) & (x <= 64))
    assert np.abs(found - wanted)[exact].max(initial=0) < 1e-7
    assert np.abs(found - wanted)[(wanted > -2.6) & (wanted < 4.1)].max() < 0.4


def test_silence_where_many_contacts_are_expected_is_far_in_the_tail():
    """P(0) = (1 + 0.1 · 60)^−10 = 7⁻¹⁰; half of it is z = −5.90."""
    z = float(negative_binomial_z(np.zeros(1), np.array([60.0]), np.array([0.1]))[0])
    assert z == pytest.approx(NORMAL.inv_cdf(7.0**-10 / 2), abs=1e-7)


@pytest.mark.parametrize("tail", [0.5, 0.49, 0.1, 0.001, 1e-12, 1e-300, 0.9, 0.999, 1 - 1e-12])
def test_quantile_equals_the_standard_librarys(tail):
    assert float(normal_z(np.log(np.array([tail])))[0]) == pytest.approx(-NORMAL.inv_cdf(tail), rel=1e-9, abs=1e-12)


def test_quantile_of_a_tail_too_small_for_a_float():
    """log P(normal > 50) = −1254.8314: from Mills' ratio, −50²/2 − log(50 √(2π)) + log(1 − 1/50² + 3/50⁴)."""
    log_tail = -1250 - math.log(50 * math.sqrt(2 * math.pi)) + math.log(1 - 1 / 2500 + 3 / 2500**2)
    assert float(normal_z(np.array([log_tail]))[0]) == pytest.approx(50, rel=1e-8)


@given(st.floats(1e-6, 1e6))
def test_log_gamma_equals_the_standard_librarys(value):
    assert float(log_gamma(np.array([value]))[0]) == pytest.approx(math.lgamma(value), rel=1e-12, abs=1e-12)


@settings(max_examples=40)
@given(n=st.integers(1, 2000), p=st.floats(1e-4, 1 - 1e-4), rho=st.floats(1e-4, 0.95))
def test_betabinomial_z_is_finite_and_grows_with_the_events(n, p, rho):
    x = np.arange(n + 1.0)
    z = betabinomial_z(np.full(x.shape, float(n)), x, np.full(x.shape, p), np.full(x.shape, rho))
    assert np.isfinite(z).all()
    assert (np.diff(z) > -0.01).all()  # the coarse grid of bunched rates may step back by thousandths at its mean


@settings(max_examples=40)
@given(mean=st.floats(5e-4, 5000), spread=st.floats(1e-3, 4))
def test_negative_binomial_z_is_finite_and_grows_with_the_contacts(mean, spread):
    x = np.unique(np.round(np.geomspace(1, 4 * mean + 40, 300))) - 1
    z = negative_binomial_z(x, np.full(x.shape, mean), np.full(x.shape, spread))
    assert np.isfinite(z).all()
    steps = np.diff(z)[z[1:] > -5]  # farther below, the two forms of the tail may meet with a larger step
    assert (steps > -0.05).all()


@settings(max_examples=50)
@given(n=st.integers(1, 400), share=st.floats(0, 1), p=st.floats(0.001, 0.999), rho=st.floats(1e-3, 0.5))
def test_events_and_non_events_mirror_each_other(n, share, p, rho):
    x = round(n * share)
    assert z_of(n, x, p, rho) == pytest.approx(-z_of(n, n - x, 1 - p, rho), abs=1e-6)
