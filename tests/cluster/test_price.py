"""Prices: tokens times USD per million, and never a guess."""

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.price import Price, predicted_cost


def test_cost_by_hand() -> None:
    prices = {"a": Price(input=1.0, output=2.0), "b": Price(input=0.0, output=10.0)}
    cost = predicted_cost(
        np.array([1000.0, 0.0]),
        completion_tokens=np.array([[500.0, 100.0], [0.0, np.nan]]),
        candidates=("a", "b"),
        prices=prices,
    )
    assert cost[0] == pytest.approx([0.002, 0.001])
    assert cost[1, 0] == 0.0
    assert np.isnan(cost[1, 1])


def test_a_candidate_without_a_price_is_named() -> None:
    with pytest.raises(InputError, match="no price for 'b'"):
        predicted_cost(
            np.ones(1),
            completion_tokens=np.ones((1, 2)),
            candidates=("a", "b"),
            prices={"a": Price(input=1, output=1)},
        )


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_prices_are_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="input"):
        Price(input=value, output=0)
