"""The process against the textbook formulas."""

from __future__ import annotations

import numpy as np
import pytest

from keeptune.recommend.process import Beliefs

RNG = np.random.default_rng(0)
X = np.column_stack([np.ones(7), RNG.random((7, 2))])
AT = np.column_stack([np.ones(4), RNG.random((4, 2))])
Y = RNG.normal(0, 1, 7)
OFF = RNG.normal(0, 0.3, (7, 7))
NOISE = OFF @ OFF.T + 0.01 * np.eye(7)


def beliefs(rest: float = 0.8) -> Beliefs:
    return Beliefs(np.array([1.0, -2.0, 0.5]), np.array([1.0, 2.0, 0.3]), rest, np.array([1.0, 0.3, 0.4]))


def reference(b: Beliefs) -> tuple[np.ndarray, np.ndarray]:
    """One pair of places at a time, matrices inverted."""

    def cov(u: np.ndarray, v: np.ndarray) -> float:
        linear = sum(b.doubt[d] ** 2 * u[d] * v[d] for d in range(3))
        return float(linear + b.rest**2 * np.exp(-sum(((u[d] - v[d]) / b.width[d]) ** 2 for d in range(3)) / 2))

    own = np.array([[cov(u, v) for v in X] for u in X]) + NOISE
    means, spreads = [], []
    for at in AT:
        cross = np.array([cov(at, v) for v in X])
        means.append(at @ b.trend + cross @ np.linalg.inv(own) @ (Y - X @ b.trend))
        spreads.append(np.sqrt(cov(at, at) - cross @ np.linalg.inv(own) @ cross))
    return np.array(means), np.array(spreads)


def test_it_is_the_textbook_formula() -> None:
    for found, expected in zip(beliefs().between(X, AT).given(Y, NOISE), reference(beliefs()), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_without_a_rest_it_is_bayesian_regression() -> None:
    b = beliefs(rest=0.0)
    weights = np.linalg.inv(NOISE)
    precision = np.diag(1 / b.doubt**2) + X.T @ weights @ X
    slopes = np.linalg.solve(precision, b.trend / b.doubt**2 + X.T @ weights @ Y)
    mean, spread = b.between(X, AT).given(Y, NOISE)
    np.testing.assert_allclose(mean, AT @ slopes, rtol=1e-6)
    np.testing.assert_allclose(spread**2, np.einsum("nd,de,ne->n", AT, np.linalg.inv(precision), AT), rtol=1e-5)


def test_the_order_of_the_measurements_says_nothing() -> None:
    order = np.random.default_rng(1).permutation(len(X))
    one = beliefs().between(X, AT).given(Y, NOISE)
    other = beliefs().between(X[order], AT).given(Y[order], NOISE[np.ix_(order, order)])
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_sure_measurement_is_believed_and_far_away_it_says_little() -> None:
    mean, spread = beliefs().between(X[:1], X[:1]).given(np.array([9.0]), np.array([[1e-8]]))
    assert mean[0] == pytest.approx(9.0, abs=1e-3) and spread[0] < 1e-3
    far = np.array([[1.0, 50.0, 50.0]])
    assert beliefs().between(X[:1], far).given(np.array([9.0]), np.array([[0.01]]))[1][0] > 50
