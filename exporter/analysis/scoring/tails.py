"""From a count to z: how far in the tail of its distribution a count lies, as a standard normal deviate.

Comes in: counts with the parameters of a beta-binomial or a negative binomial, a row each. Goes out: z, so that
P(normal > z) = P(X > x) + P(X = x)/2, the mid-p tail. It knows nothing of queues or time, and needs no SciPy.

Where the deviation is small, the tail is summed term by term from the count outwards, which is exact to 1e-9. Where
it is large, the sum would be long and the distribution is smooth: then z is the mean of the deviates of its two
halves (the sampling of contacts, and the spread of the rate itself), weighted by their shares of the variance. That
agrees with the exact z to 0.02 in the median and 0.1 nearly everywhere.

Sources: Wichura 1988, algorithm AS 241 (normal quantile) · Paulson 1942 (beta and F tails by cube roots) ·
Wilson and Hilferty 1931 (gamma) · Peizer and Pratt 1968 (binomial and Poisson).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import polynomial

from exporter.models import FloatColumn

#: Standard deviation in contacts up to which the tail is summed exactly: about 60 terms at most for common rates.
EXACT_STDDEV = 8.0
#: Contacts per further standard deviation of a long right tail; a longer one is not summed.
EXACT_TAIL_SCALE = 16.0
#: Effective events below which the smooth forms fail: the beta distribution is then nearly a spike at its end.
ROUGH_EVENTS = 2.0
#: Contacts of the coarser grid for each effective contact, and the least of them.
GRID_PER_EFFECTIVE, MIN_GRID = 16.0, 64.0
#: A term this small beside the sum ends it.
NEGLIGIBLE = 1e-11
#: Terms summed between two removals of finished rows.
STRIDE = 8

Ratio = Callable[..., FloatColumn]


def betabinomial_z(n: FloatColumn, x: FloatColumn, p: FloatColumn, rho: FloatColumn) -> FloatColumn:
    """z of x events among n ≥ 1 contacts, 0 ≤ x ≤ n; mean rate p in (0, 1), correlation rho in (0, 1)."""
    n, x, p, rho = (np.asarray(each, np.float64) for each in np.broadcast_arrays(n, x, p, rho))
    above = x >= n * p  # the other side is the same distribution with events and non-events exchanged
    columns = n, np.where(above, x, n - x), np.where(above, p, 1 - p), rho
    variance = n * p * (1 - p) * (1 + (n - 1) * rho)
    short = (variance <= EXACT_STDDEV**2) & (variance <= EXACT_TAIL_SCALE * np.maximum(n * columns[2], 1))
    rough = np.minimum(p, 1 - p) * (n / (1 + (n - 1) * rho) - 1) < ROUGH_EVENTS
    z = np.empty(n.shape)
    for rows, form in (
        (short, _summed_betabinomial_z),
        (~short & rough, _gridded_betabinomial_z),
        (~short & ~rough, _smooth_betabinomial_z),
    ):
        z[rows] = form(*(column[rows] for column in columns))
    signed: FloatColumn = np.where(above, z, -z)
    return signed


def negative_binomial_z(x: FloatColumn, mean: FloatColumn, spread: FloatColumn) -> FloatColumn:
    """z of x contacts where `mean` > 0 are expected and the variance is mean + spread · mean²; spread > 0."""
    x, mean, spread = (np.asarray(each, np.float64) for each in np.broadcast_arrays(x, mean, spread))
    variance = mean + spread * mean**2
    above = x >= mean
    summed = (variance <= EXACT_STDDEV**2) & (variance <= EXACT_TAIL_SCALE * np.maximum(mean, 1))
    summed |= ~above & (x <= EXACT_STDDEV**2)  # few terms down to 0, and silence is what matters most
    z = np.empty(x.shape)
    for side, ratio in ((above, _negative_binomial_ratio), (~above, _negative_binomial_downward_ratio)):
        rows = summed & side
        one = [each[rows] for each in (x, mean, 1 / spread)]
        tail = normal_z(_negative_binomial_log_pmf(*one) + np.log(_outward_sum(ratio, *one)))
        z[rows] = np.where(above[rows], tail, -tail)
    far = ~summed
    z[far] = _smooth_negative_binomial_z(x[far], mean[far], spread[far])
    return z


def _outward_sum(ratio: Ratio, *parameters: FloatColumn) -> FloatColumn:
    """½ + r₁ + r₁r₂ + …: the tail from the count outwards in units of the count's own probability."""
    total = np.full(parameters[0].shape, 0.5)
    rows, term, step = np.arange(total.size), np.ones(total.size), 0
    while rows.size:
        part = total[rows]
        for _ in range(STRIDE):
            term = term * ratio(step, *parameters)
            part += term
            step += 1
        total[rows] = part
        alive = term > NEGLIGIBLE * part
        rows, term = rows[alive], term[alive]
        parameters = tuple(each[alive] for each in parameters)
    return total


def _betabinomial_ratio(step: int, n: FloatColumn, x: FloatColumn, a: FloatColumn, b: FloatColumn) -> FloatColumn:
    """P(k + 1) / P(k) at k = x + step; 0 from k = n on."""
    k = x + step
    left = np.maximum(n - k, 0)
    ratio: FloatColumn = left * (k + a) / ((k + 1) * (np.maximum(left - 1, 0) + b))
    return ratio


def _negative_binomial_ratio(step: int, x: FloatColumn, mean: FloatColumn, size: FloatColumn) -> FloatColumn:
    k = x + step
    return (k + size) / (k + 1) * (mean / (mean + size))


def _negative_binomial_downward_ratio(step: int, x: FloatColumn, mean: FloatColumn, size: FloatColumn) -> FloatColumn:
    """P(k − 1) / P(k) at k = x − step; 0 from k = 0 on."""
    k = np.maximum(x - step, 0)
    ratio: FloatColumn = k / (np.maximum(k - 1, 0) + size) * ((mean + size) / mean)
    return ratio


def _betabinomial_log_pmf(n: FloatColumn, x: FloatColumn, a: FloatColumn, b: FloatColumn) -> FloatColumn:
    choose = log_gamma(n + 1) - log_gamma(x + 1) - log_gamma(n - x + 1)
    beta = log_gamma(x + a) + log_gamma(n - x + b) - log_gamma(n + a + b)
    return choose + beta - (log_gamma(a) + log_gamma(b) - log_gamma(a + b))


def _negative_binomial_log_pmf(x: FloatColumn, mean: FloatColumn, size: FloatColumn) -> FloatColumn:
    choose = log_gamma(x + size) - log_gamma(size) - log_gamma(x + 1)
    return choose - size * np.log1p(mean / size) + x * np.log(mean / (mean + size))


def _summed_betabinomial_z(n: FloatColumn, x: FloatColumn, p: FloatColumn, rho: FloatColumn) -> FloatColumn:
    weight = 1 / rho - 1
    parameters = n, x, p * weight, (1 - p) * weight
    return normal_z(_betabinomial_log_pmf(*parameters) + np.log(_outward_sum(_betabinomial_ratio, *parameters)))


def _gridded_betabinomial_z(n: FloatColumn, x: FloatColumn, p: FloatColumn, rho: FloatColumn) -> FloatColumn:
    """Rates so rare or so bunched that no smooth form holds: summed on a grid coarser than n that keeps the spread.

    The grid's tails are taken as shares of their own sum, since a count between two points has no probability.
    """
    inflation = 1 + (n - 1) * rho
    size = np.minimum(n, np.maximum(MIN_GRID, np.ceil(GRID_PER_EFFECTIVE * n / inflation)))
    weight = (size - 1) / (size * inflation / n - 1) - 1
    at, a, b = x / n * size, p * weight, (1 - p) * weight
    upper = _outward_sum(_betabinomial_ratio, size, at, a, b)
    lower = _outward_sum(_betabinomial_ratio, size, size - at, b, a)
    return normal_z(np.log(upper / (upper + lower)))


def _smooth_betabinomial_z(n: FloatColumn, x: FloatColumn, p: FloatColumn, rho: FloatColumn) -> FloatColumn:
    spread = (n - 1) * rho
    effective = n / (1 + spread)  # binomial trials, or a beta's a + b + 1, with the same variance
    rate = np.clip(x / n, 1e-12, 1 - 1e-12)
    beta = _paulson_z(p * (effective - 1), (1 - p) * (effective - 1), rate)
    binomial = _peizer_pratt_binomial_z(effective, rate, p)
    return (spread * beta + binomial) / (1 + spread)


def _paulson_z(a: FloatColumn, b: FloatColumn, rate: FloatColumn) -> FloatColumn:
    """Deviate of a beta(a, b) variable at `rate`, by the cube root of the F variable that goes with it."""
    root = np.cbrt(rate * b / ((1 - rate) * a))
    return ((1 - 1 / (9 * b)) * root - (1 - 1 / (9 * a))) / np.sqrt(root**2 / (9 * b) + 1 / (9 * a))


def _peizer_pratt_binomial_z(n: FloatColumn, rate: FloatColumn, p: FloatColumn) -> FloatColumn:
    """Mid-p deviate of a binomial(n, p) share of `rate`; n need not be whole."""
    q = 1 - p
    distance = n * rate + 1 / 6 - (n + 1 / 3) * p
    shape = 1 + q * _peizer_pratt_g(rate / p) + p * _peizer_pratt_g((1 - rate) / q)
    return distance * np.sqrt(shape / ((n + 1 / 6) * p * q))


def _smooth_negative_binomial_z(x: FloatColumn, mean: FloatColumn, spread: FloatColumn) -> FloatColumn:
    """Gamma deviate for the spread of the level, Poisson deviate for the counting; each at the whole variance."""
    extra = spread * mean
    shape = mean / (1 + extra)  # of a gamma or, in contacts, of a Poisson with the same relative variance
    share = x / mean
    gamma = 3 * np.sqrt(shape) * (np.cbrt(share) - 1 + 1 / (9 * shape))
    distance = shape * (share - 1) + 1 / 6
    poisson = distance * np.sqrt((1 + _peizer_pratt_g(share)) / shape)
    return (extra * gamma + poisson) / (1 + extra)


def _peizer_pratt_g(ratio: FloatColumn) -> FloatColumn:
    """(1 − r² + 2r·ln r) / (1 − r)², which is 1 at 0 and (1 − r)/3 + (1 − r)²/6 + … around 1."""
    short = 1 - ratio
    near, zero = np.abs(short) < 0.01, ratio <= 0
    safe = np.where(near | zero, 0.5, ratio)
    value = (1 - safe**2 + 2 * safe * np.log(safe)) / (1 - safe) ** 2
    return np.where(near, short / 3 + short**2 / 6 + short**3 / 10, np.where(zero, 1.0, value))


#: Stirling's series of log Γ in 1/z².
_STIRLING = np.array([1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188])
_HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)


def log_gamma(value: FloatColumn) -> FloatColumn:
    """log Γ(value) for value > 0: shifted up by eight, then Stirling's series."""
    shifted = value + 8
    product = value * (value + 1) * (value + 2) * (value + 3) * (value + 4) * (value + 5) * (value + 6) * (value + 7)
    inverse = 1 / shifted
    series = polynomial.polyval(inverse * inverse, _STIRLING) * inverse
    logarithm: FloatColumn = (shifted - 0.5) * np.log(shifted) - shifted + _HALF_LOG_TWO_PI + series - np.log(product)
    return logarithm


# Coefficients of AS 241 (PPND16), lowest power first, numerator and denominator: centre, middle, far tail.
_CENTRE = np.array(
    [
        [
            3.3871328727963666080,
            133.14166789178437745,
            1971.5909503065514427,
            13731.693765509461125,
            45921.953931549871457,
            67265.770927008700853,
            33430.575583588128105,
            2509.0809287301226727,
        ],
        [
            1.0,
            42.313330701600911252,
            687.18700749205790830,
            5394.1960214247511077,
            21213.794301586595867,
            39307.895800092710610,
            28729.085735721942674,
            5226.4952788528545610,
        ],
    ]
)
_MIDDLE = np.array(
    [
        [
            1.42343711074968357734,
            4.63033784615654529590,
            5.76949722146069140550,
            3.64784832476320460504,
            1.27045825245236838258,
            0.241780725177450611770,
            0.0227238449892691845833,
            7.74545014278341407640e-4,
        ],
        [
            1.0,
            2.05319162663775882187,
            1.67638483018380384940,
            0.689767334985100004550,
            0.148103976427480074590,
            0.0151986665636164571966,
            5.47593808499534494600e-4,
            1.05075007164441684324e-9,
        ],
    ]
)
_FAR = np.array(
    [
        [
            6.65790464350110377720,
            5.46378491116411436990,
            1.78482653991729133580,
            0.296560571828504891230,
            0.0265321895265761230930,
            1.24266094738807843860e-3,
            2.71155556874348757815e-5,
            2.01033439929228813265e-7,
        ],
        [
            1.0,
            0.599832206555887937690,
            0.136929880922735805310,
            0.0148753612908506148525,
            7.86869131145613259100e-4,
            1.84631831751005468180e-5,
            1.42151175831644588870e-7,
            2.04426310338993978564e-15,
        ],
    ]
)


def _rational(value: FloatColumn, pair: FloatColumn) -> FloatColumn:
    quotient: FloatColumn = polynomial.polyval(value, pair[0]) / polynomial.polyval(value, pair[1])
    return quotient


def normal_z(log_tail: FloatColumn) -> FloatColumn:
    """The z with P(normal > z) = exp(log_tail), for log_tail < 0; taken as a logarithm, so that nothing underflows."""
    probability = np.exp(log_tail)
    offset = 0.5 - probability
    smaller = np.where(offset >= 0, log_tail, np.log(-np.expm1(np.minimum(log_tail, -1e-300))))
    root = np.sqrt(np.maximum(-smaller, 0))
    centre = offset * _rational(0.180625 - offset**2, _CENTRE)
    tail = np.where(root <= 5, _rational(root - 1.6, _MIDDLE), _rational(root - 5, _FAR))
    return np.where(np.abs(offset) <= 0.425, centre, np.copysign(tail, offset))
