"""Tango's interval against published values and a brute-force score test; McNemar and Wilson against SciPy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, binomtest, norm

from keeptune.retention.binary import mcnemar_mid_p, tango_lower, tango_z, wilson, z_quantile

Z95 = z_quantile(0.975)


def tango(lost: float, gained: float, n: float, z: float = Z95) -> tuple[float, float]:
    return tango_lower(lost, gained, n, z), -tango_lower(gained, lost, n, z)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 3000))
    lost = draw(st.integers(0, n))
    return lost, draw(st.integers(0, n - lost)), n


# (lost, gained, n, level, low, high), change = (gained - lost) / n
PUBLISHED = [
    (7, 1, 21, 0.95, -0.517, -0.026),  # Fagerland, Lydersen & Laake 2014: airway hyper-responsiveness
    (8, 16, 86, 0.95, -0.020, 0.207),  # Agresti & Min 2005
    (25, 28, 618, 0.90, -0.0148, 0.0247),  # R, PropCIs::scoreci.mp(25, 28, 618, 0.90)
]


@pytest.mark.parametrize(("lost", "gained", "n", "level", "low", "high"), PUBLISHED)
def test_published_intervals(lost: int, gained: int, n: int, level: float, low: float, high: float) -> None:
    digits = len(str(low).split(".")[1])
    found = tango(lost, gained, n, z_quantile((1 + level) / 2))
    assert found == (pytest.approx(low, abs=0.51 * 10**-digits), pytest.approx(high, abs=0.51 * 10**-digits))


def score_by_search(change: float, lost: int, gained: int, n: int) -> float:
    """The score statistic with the nuisance share maximised numerically instead of by formula."""

    def cost(share_lost: float) -> float:
        cells = [(lost, share_lost), (gained, share_lost + change), (n - lost - gained, 1 - 2 * share_lost - change)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    bounds = (max(0.0, -change), (1 - change) / 2)
    share = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-14}).x
    return (gained - lost - n * change) / math.sqrt(n * (2 * share + change - change**2))


@pytest.mark.parametrize(("lost", "gained", "n"), [(7, 1, 21), (3, 9, 32), (80, 60, 1546), (0, 5, 44), (1, 0, 400)])
def test_limits_solve_the_score_test(lost: int, gained: int, n: int) -> None:
    estimate = (gained - lost) / n
    low = brentq(lambda d: score_by_search(d, lost, gained, n) - Z95, -0.999, estimate - 1e-6)
    high = brentq(lambda d: score_by_search(d, lost, gained, n) + Z95, estimate + 1e-6, 0.999)
    assert tango(lost, gained, n) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


@given(tables())
def test_interval_surrounds_the_estimate_and_has_a_width(table: tuple[int, int, int]) -> None:
    lost, gained, n = table
    low, high = tango(lost, gained, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert high - low > 1e-4


@given(tables())
def test_interval_shrinks_with_n(table: tuple[int, int, int]) -> None:
    lost, gained, n = table
    low, high = tango(lost, gained, n)
    narrow_low, narrow_high = tango(4 * lost, 4 * gained, 4 * n)
    assert narrow_high - narrow_low < high - low


@given(tables())
def test_one_more_loss_lowers_the_bound(table: tuple[int, int, int]) -> None:
    lost, gained, n = table
    if lost + gained < n:
        assert tango_lower(lost + 1, gained, n, Z95) <= tango_lower(lost, gained, n, Z95) + 1e-12


@given(st.integers(1, 10_000), st.floats(0.5, 4))
def test_no_flips_has_the_closed_form(n: int, z: float) -> None:
    assert tango_lower(0, 0, n, z) == -z * z / (n + z * z)


@pytest.mark.parametrize("gained", [20, 500])
def test_limits_are_continuous_at_the_edges(gained: int) -> None:
    assert tango_lower(0, gained, gained, Z95) == pytest.approx(tango_lower(0, gained - 1e-9, gained, Z95), abs=1e-4)
    assert tango_lower(0, 0, gained, Z95) == pytest.approx(tango_lower(0, 1e-9, gained, Z95), abs=1e-4)
    assert tango_lower(gained, 0, gained, Z95) == pytest.approx(tango_lower(gained - 1e-9, 0, gained, Z95), abs=1e-4)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mid_p_is_the_sign_test_less_half_of_what_was_seen(lost: int, gained: int) -> None:
    flips = lost + gained
    if not flips:
        assert mcnemar_mid_p(0, 0) == 1.0
        return
    exact = binomtest(lost, flips, alternative="greater").pvalue
    assert mcnemar_mid_p(lost, gained) == pytest.approx(exact - binom.pmf(lost, flips, 0.5) / 2, rel=1e-9, abs=1e-15)


@given(tables(), st.floats(-0.9, 0.9))
def test_the_score_test_and_its_limits_agree(table: tuple[int, int, int], change: float) -> None:
    lost, gained, n = table
    low, high = tango(lost, gained, n)
    if low < change < high and min(change - low, high - change) > 1e-6 and abs(change) > 1e-9:
        assert abs(tango_z(lost, gained, n, change)) <= Z95 + 1e-6
    elif change < low - 1e-6 or change > high + 1e-6:
        assert abs(tango_z(lost, gained, n, change)) >= Z95 - 1e-6


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (777, 1546)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n, Z95) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_z_quantile() -> None:
    assert z_quantile(0.95) == pytest.approx(norm.ppf(0.95), abs=1e-12)
