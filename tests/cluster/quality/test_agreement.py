"""Whether scorers agree: a noisy one, a reversed one, and what chance has to do with it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cluster.quality.agreement import agreement, auc, rank_correlation

VALUES = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


def compared(collect, gold, other):
    made = collect(gold)
    made.reward_by("helpful", other)
    found = made.measure()
    (one,) = found.agreements
    return one, " | ".join(alarm.words for alarm in found.alarms)


def test_a_scorer_that_follows_gold_is_trusted(collect, specialists):
    one, words = compared(collect, specialists, 4 * specialists + 1)
    assert (one.first, one.second, one.gold, one.cells) == ("exact", "helpful", "exact", 160)
    assert (one.rank_correlation, one.reversed, one.auc) == (pytest.approx(1.0), 0.0, 1.0)
    assert one.pairs == (specialists[:, 0] != specialists[:, 1]).sum()
    assert "helpful" not in words


def test_a_noisy_scorer_is_an_alarm(collect, specialists):
    noise = np.random.default_rng(0).normal(size=specialists.shape)
    one, words = compared(collect, specialists, noise)
    assert one.auc == pytest.approx(0.5, abs=0.1)
    assert f"helpful hardly tells right from wrong answers: AUC {one.auc:.2f}" in words


def test_two_scorers_without_gold_are_compared_by_pairs(collect):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(80, 2))
    one, words = compared(collect, first, -first)
    assert (one.gold, one.auc, one.reversed) == ("", None, 1.0)
    assert one.rank_correlation == pytest.approx(-1.0)
    assert "exact and helpful put 100 % of 80 pairs of answers the other way round" in words


def test_only_answers_of_both_are_compared(collect, specialists):
    other = np.where(np.arange(80)[:, None] < 50, specialists, np.nan)
    one, _ = compared(collect, specialists, other)
    assert one.cells == 100


@given(first=VALUES, second=VALUES)
def test_rank_correlation_is_spearman_s(first, second):
    n = min(len(first), len(second))
    a, b = np.array(first[:n], dtype=float), np.array(second[:n], dtype=float)
    found = rank_correlation(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(a, b).statistic)


@given(right=VALUES, wrong=VALUES)
def test_auc_is_the_chance_to_be_above(right, wrong):
    won = [(r > w) + (r == w) / 2 for r, w in itertools.product(right, wrong)]
    gold = np.array([1.0] * len(right) + [0.0] * len(wrong))
    assert auc(np.array([*right, *wrong], dtype=float), gold=gold) == pytest.approx(np.mean(won))


def test_scorers_without_a_cell_in_common_have_nothing_to_agree_on():
    nothing = np.full((4, 2), np.nan)
    one = agreement(("a", "b"), first=nothing, second=np.ones((4, 2)))
    assert (one.cells, one.pairs, one.rank_correlation, one.reversed, one.auc) == (
        0,
        0,
        None,
        None,
        None,
    )
