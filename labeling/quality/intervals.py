"""Intervals of shares, for whoever shows one."""

import math

_Z = 1.959964  # of a 95 % interval


def wilson(value: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a share in n trials.

    It stays within 0 and 1 and says something of few trials too, where the normal approximation is 1 ± 0.
    """
    middle = value + _Z**2 / (2 * n)
    half = _Z * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
