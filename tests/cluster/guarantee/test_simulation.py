"""The whole promise on a population whose truth is known, and what breaks without its parts."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.guarantee.sequence import NONE
from tests.simulation import (
    Population,
    broken,
    certified,
    draw,
    fitted,
    hoeffding_bentkus,
    most_broken,
)

SAMPLES, FLOOR, DELTA = 400, 0.95, 0.1


def population(*, rows: int = 8_000, settings: int = 20, over: float = 0.0) -> Population:
    """A strong and a weak model; a score says which queries the weak one can answer.

    `over`: how much better the weak one does than elsewhere: what a router's own training rows
    look like.
    """
    rng = np.random.default_rng(6)
    ability = rng.random(rows)
    strong = (rng.random(rows) < 0.65 + 0.3 * ability).astype(float)
    weak = (rng.random(rows) < 0.35 + 0.6 * ability + over).astype(float)
    score = ability + rng.normal(0, 0.3, rows)
    cuts = np.quantile(score, 1 - np.arange(1, settings + 1) / settings)
    differs = score >= cuts[:, None]
    return Population(np.where(differs, weak, strong), strong, differs, 1 - differs.mean(axis=1))


@pytest.fixture(scope="module")
def pool() -> Population:
    return population()


@pytest.fixture(scope="module")
def rows():
    return draw(8_000, n=1_000, samples=SAMPLES, rng=np.random.default_rng(7))


def test_the_promise_is_kept_and_saves_money(pool, rows) -> None:
    chosen = certified("betting")(pool, rows=rows, floor=FLOOR, delta=DELTA)
    assert broken(chosen, population=pool, floor=FLOOR) <= most_broken(SAMPLES, delta=DELTA)
    least, spent = pool.least_cost(FLOOR), pool.cost_of(chosen).mean()
    assert least < 0.7
    assert least < spent < (1 + least) / 2


def test_the_approximation_saves_more_and_nearly_keeps_it(pool, rows) -> None:
    exact, about = (
        certified(name)(pool, rows=rows, floor=FLOOR, delta=DELTA) for name in ("betting", "clt")
    )
    assert broken(about, population=pool, floor=FLOOR) <= 1.5 * DELTA * SAMPLES
    assert pool.cost_of(about).mean() < pool.cost_of(exact).mean()


def test_a_threshold_without_a_bound_breaks_it(pool, rows) -> None:
    chosen = fitted(pool, rows=rows, floor=FLOOR, delta=DELTA)
    assert broken(chosen, population=pool, floor=FLOOR) > most_broken(SAMPLES, delta=DELTA)


def test_an_older_bound_keeps_it_and_saves_less(pool, rows) -> None:
    older, ours = (
        rule(pool, rows=rows, floor=FLOOR, delta=DELTA)
        for rule in (hoeffding_bentkus, certified("betting"))
    )
    assert broken(older, population=pool, floor=FLOOR) <= most_broken(SAMPLES, delta=DELTA)
    assert pool.cost_of(older).mean() > pool.cost_of(ours).mean() + 0.1


def test_calibrated_on_rows_that_flatter_the_router_it_is_broken(pool, rows) -> None:
    chosen = certified("betting")(population(over=0.1), rows=rows, floor=FLOOR, delta=DELTA)
    assert broken(chosen, population=pool, floor=FLOOR) > 0.9 * SAMPLES


def test_where_no_setting_holds_nothing_is_certified(pool, rows) -> None:
    useless = replace(pool, earned=np.where(pool.differs, 0.0, pool.earned))
    assert (certified("betting")(useless, rows=rows, floor=0.99, delta=DELTA) == NONE).all()


def test_2000_draws_may_break_227_or_120() -> None:
    assert (most_broken(2_000, delta=0.1), most_broken(2_000, delta=0.05)) == (227, 120)
