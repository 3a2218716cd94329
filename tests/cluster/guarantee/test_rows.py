"""Which rows count: none that the router has seen, none picked with a bias, each text once."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.guarantee.rows import check_bounded, drawn, require_enough, worst_case
from cluster.outcome import OutcomeMatrix

rewards = st.sampled_from([0.0, 0.25, 1.0])


def outcomes(texts, reward, chance=1.0) -> OutcomeMatrix:
    reward = np.asarray(reward, dtype=float)
    unknown = np.full(reward.shape, np.nan)
    queries = pl.DataFrame({"text": list(texts)}).with_columns(
        query_id=pl.col("text"),
        dataset=pl.lit("toy"),
        task=pl.lit("t"),
        split=pl.lit("calibration"),
        sampling_probability=pl.Series(np.broadcast_to(chance, len(reward)).astype(float)),
    )
    names = ("weak", "strong")
    return OutcomeMatrix(queries, names, names, reward, unknown, unknown, unknown, unknown, unknown)


def many(n: int, *, chance=1.0, repeats: int = 1) -> OutcomeMatrix:
    rng = np.random.default_rng(0)
    texts = [f"question {row // repeats}" for row in range(n)]
    return outcomes(texts, rng.integers(0, 2, (n, 2)), chance)


def taken(rows: OutcomeMatrix, *, seen=(), least: float = 1.0):
    mask = np.zeros(len(rows), dtype=bool)
    mask[list(seen)] = True
    found = drawn(rows, seen=mask, least=least)
    require_enough(found, dataset="toy")
    return found


def test_rows_that_the_router_has_seen_are_left_out_and_counted() -> None:
    found = taken(many(300), seen=range(40))
    assert len(found.outcomes) == 260
    assert list(found.left_out.values()) == [40]
    assert not set(found.outcomes.texts) & {f"question {row}" for row in range(40)}


def test_too_few_rows_are_refused_with_why() -> None:
    with pytest.raises(InputError, match=r"has 240 calibration rows .* 250 or more .*60 nearly"):
        taken(many(300), seen=range(60))


def test_a_text_counts_once_with_the_mean_of_its_copies() -> None:
    rows = many(600, repeats=2)
    found = taken(rows)
    assert len(found.outcomes) == 300
    assert list(found.left_out.values()) == [300]
    place = found.outcomes.texts.to_list().index("question 7")
    assert found.outcomes.reward[place].tolist() == rows.reward[14:16].mean(axis=0).tolist()


def test_copies_make_no_evidence() -> None:
    with pytest.raises(InputError, match="250 or more"):
        taken(many(900, repeats=9))


def test_the_order_depends_on_the_texts_alone() -> None:
    rows = many(400)
    other = np.random.default_rng(1).permutation(400)
    assert taken(rows).outcomes.texts.equals(taken(rows.take(other)).outcomes.texts)


def test_of_rows_picked_with_a_bias_the_even_part_counts() -> None:
    chance = np.where(np.arange(600) < 300, 1.0, 0.2)
    found = taken(many(600, chance=chance))
    assert len(found.outcomes) == 300
    assert (found.weight == 1).all()
    assert list(found.left_out.values()) == [300]


def test_where_all_were_picked_each_counts_with_the_inverse() -> None:
    chance = np.where(np.arange(800) < 400, 0.1, 0.4)
    found = taken(many(800, chance=chance), least=0.05)
    rows = found.outcomes.queries["sampling_probability"].to_numpy()
    assert np.allclose(found.weight * rows, 0.05)
    # Weights are .5 and .125.
    assert found.effective == pytest.approx(250**2 / 106.25)
    even = taken(many(300, chance=0.1), least=0.1)
    assert (even.weight == 1).all()


def test_rows_without_any_reward_are_left_out_and_counted() -> None:
    rows = many(300)
    rows.reward[:20] = np.nan
    rows.reward[20:40, 0] = np.nan
    found = taken(rows)
    assert len(found.outcomes) == 280
    assert list(found.left_out.values()) == [20]


@given(
    arrays(float, (9, 2), elements=rewards),
    arrays(bool, (9, 2)),
    arrays(np.int64, 9, elements=st.integers(0, 1)),
    st.sampled_from([0.5, 0.95, 1.0]),
)
def test_whatever_is_missing_the_margin_is_no_better_than_it_would_be(
    truth, missing, chosen, floor
) -> None:
    seen = np.where(missing, np.nan, truth)
    earned, against = worst_case(seen, chosen=chosen, reference=1)
    true = truth[np.arange(9), chosen] - floor * truth[:, 1]
    assert (earned - floor * against <= true + 1e-12).all()
    whole = ~missing.any(axis=1)
    assert (earned - floor * against)[whole] == pytest.approx(true[whole])


def test_rewards_out_of_bounds_are_refused() -> None:
    with pytest.raises(InputError, match=r"candidate 'strong': reward 3, expected 0 to 1"):
        check_bounded(outcomes(["a", "b"], [[0, 1], [1, 3]]), greatest=1.0)
    with pytest.raises(InputError, match="reward -1"):
        check_bounded(outcomes(["a"], [[-1, 1]]), greatest=5.0)
    check_bounded(outcomes(["a", "b"], [[0, 5], [np.nan, 3]]), greatest=5.0)
