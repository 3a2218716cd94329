"""The normal approximation: tighter than betting, and nearly true where many rows differ."""

import numpy as np

from cluster.guarantee import betting, normal
from cluster.guarantee.bound import BOUNDS


def draws(*, lost: float, gained: float, n: int = 1_000, samples: int = 2_000):
    """Margins at floor .95 where the reference is right on 80 % of the rows."""
    draw = np.random.default_rng(4).random((samples, n))
    margin = np.where(draw < lost, -0.95, np.where(draw < 0.8, 0.05, 0.0))
    return np.where(draw > 1 - gained, 1.0, margin)


def test_it_is_wrong_about_as_often_as_delta() -> None:
    margin = draws(lost=0.1, gained=0.06)
    assert abs(margin.mean()) < 1e-3
    assert 0.07 < normal.holds(margin, floor=0.95, delta=0.1).mean() < 0.13


def test_it_certifies_what_betting_cannot_yet() -> None:
    margin = draws(lost=0.1, gained=0.075)
    exact, about = (
        bound.holds(margin, floor=0.95, delta=0.1).mean() for bound in (betting, normal)
    )
    assert about > exact + 0.1


def test_a_floor_holds_exactly_where_the_bound_is_above_it() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(50):
        reference = (rng.random(300) < 0.8).astype(float)
        route = np.where(rng.random(300) < 0.12, 1 - reference, reference)
        at_least = normal.lower(
            route, reference=reference, weight=np.ones(300), floor=0.9, delta=0.1
        )
        found.append(bool(normal.holds((route - 0.9 * reference)[None], floor=0.9, delta=0.1)[0]))
        assert found[-1] == (at_least >= 0.9)
    assert {True, False} == set(found)


def test_it_says_that_it_is_asymptotic_and_what_it_needs() -> None:
    assert BOUNDS["clt"].is_asymptotic
    assert BOUNDS["clt"].least_differing == 30
    assert not BOUNDS["betting"].is_asymptotic
    assert not BOUNDS["betting"].least_differing
