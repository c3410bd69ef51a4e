"""Student's t and the normal distribution: how wide an interval of few samples is."""

from __future__ import annotations

import math
from functools import lru_cache

HALVINGS, TERMS = 200, 1000


@lru_cache(maxsize=1024)
def t_95(freedom: float) -> float:
    """The t that 95 % of samples lie within, either side of zero, with so many degrees of freedom (above 0, any fraction).

    >>> round(t_95(2.0), 3), round(t_95(30.0), 3)
    (4.303, 2.042)
    """
    low, high = -700.0, 0.0  # ln x, where x = freedom / (freedom + t²), and I_x(freedom/2, 1/2) is what lies outside
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _incomplete_beta(math.exp(middle), 0.5 * freedom, 0.5) < 0.05 else (low, middle)
    return math.sqrt(freedom * -math.expm1(high)) * math.exp(-0.5 * high)


def normal_below(z: float) -> float:
    """The share of a standard normal distribution below z [0..1]."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the regularized incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.8)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast below it only
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, TERMS):  # modified Lentz, two terms at a time
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d, c = 1.0 / _away_from_zero(1.0 + term * d), _away_from_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300
