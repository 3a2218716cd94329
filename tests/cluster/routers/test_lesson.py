"""Battles beside outcomes: who may see them, what is learned from, and what is judged on."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.routers.bert import Bert
from cluster.routers.causal_lm import CausalLM
from cluster.routers.knn import Knn
from cluster.routers.lesson import (
    learns_from_battles,
    lesson,
    usual_settings,
    usual_tiers,
)
from cluster.routers.mf import MatrixFactorisation
from cluster.routers.strong_weak import on_candidates

NAN = float("nan")
PAIR = {"strong": "adder", "weak": "roman"}


@pytest.fixture
def battles(make_outcomes):
    """Four of train and one of validation, between other names than the outcomes' but for two."""
    reward = [[1, 0, NAN], [NAN, 1, 0], [0.25, NAN, 0.75], [0.5, 0.5, NAN], [0, NAN, 1]]
    fought = make_outcomes([f"battle {row}" for row in range(5)], ["b"] * 5, reward)
    split = pl.Series("split", ["train"] * 4 + ["validation"])
    named = replace(fought, candidates=("adder", "stranger", "roman"))
    return replace(named, queries=named.queries.with_columns(split))


@pytest.fixture
def pair(make_two_tasks):
    return on_candidates(make_two_tasks(10), [0, 1])


def none_of(outcomes: OutcomeMatrix) -> OutcomeMatrix:
    return outcomes.take(np.zeros(0, dtype=np.int64))


def test_only_methods_that_compare_learn_from_battles(pair, battles):
    assert learns_from_battles(Bert)
    assert not learns_from_battles(Knn)
    found = lesson(Knn(), pair, none_of(pair), battles=battles)
    assert found.train is pair
    assert "not for it" in found.words
    with pytest.raises(InputError, match="'knn' learns from rewards, and no train query has one"):
        lesson(Knn(), none_of(pair), none_of(pair), battles=battles)


def test_without_tiers_the_battles_between_these_candidates_are_added(pair, battles):
    found = lesson(Bert(**PAIR), pair, none_of(pair), battles=battles)
    assert found.train.candidates == ("adder", "roman")
    assert found.train.texts.to_list() == [*pair.texts, "battle 2"]
    assert found.train.reward[-1].tolist() == [0.25, 0.75]
    assert found.train.candidate_ids == pair.candidate_ids
    assert "10 outcomes and 2 battles" in found.words


def test_with_tiers_all_battles_between_the_sides_are(pair, battles):
    tiers = {"tiers": 2, "strong_tiers": (0,), "weak_tier": 1}
    found = lesson(Bert(**PAIR, **tiers), pair, none_of(pair), battles=battles)
    assert found.train.candidates == ("adder", "roman")
    assert found.train.texts.to_list()[:10] == pair.texts.to_list()
    assert len(found.train) > 11
    assert found.train.mask.all()
    assert "for adder and roman" in found.words


def test_tiers_are_cut_by_battles_and_not_by_outcomes(pair, battles):
    """However many outcomes say that `adder` always wins."""
    tiers = {"tiers": 2, "strong_tiers": (0,), "weak_tier": 1}
    always = replace(pair, reward=np.tile([1.0, 0.0], (10, 1)))
    with_outcomes = lesson(Bert(**PAIR, **tiers), always, none_of(pair), battles=battles)
    alone = lesson(Bert(**PAIR, **tiers), none_of(pair), none_of(pair), battles=battles)
    assert with_outcomes.train.texts.to_list()[10:] == alone.train.texts.to_list()


def test_validation_is_the_outcomes_own_where_there_is_any(pair, battles, make_two_tasks):
    own = on_candidates(make_two_tasks(4, split="validation"), [0, 1])
    tiers = {"tiers": 2, "strong_tiers": (0,), "weak_tier": 1}
    beside = lesson(Bert(**PAIR, **tiers), pair, own, battles=battles)
    assert beside.validation.texts.to_list() == own.texts.to_list()
    assert "battle 4" in beside.train.texts.to_list()
    alone = lesson(Bert(**PAIR, **tiers), pair, none_of(pair), battles=battles)
    assert alone.validation.texts.to_list() == ["battle 4"]
    assert "battle 4" not in alone.train.texts.to_list()


def test_a_battle_of_the_test_split_is_never_learned_from(pair, battles):
    test = replace(battles, queries=battles.queries.with_columns(split=pl.lit("test")))
    found = lesson(Bert(**PAIR), pair, none_of(pair), battles=test)
    assert len(found.train) + len(found.validation) == len(pair)


def test_no_battle_between_them(pair, battles):
    others = replace(battles, candidates=("x", "y", "z"))
    with pytest.raises(InputError, match="no battle to learn from is between two of adder, roman"):
        lesson(MatrixFactorisation(), pair, none_of(pair), battles=others)


def test_tiers_need_to_know_for_whom(make_two_tasks, battles):
    others = replace(battles, candidates=("x", "y", "z"))
    three = make_two_tasks(10)
    tiers = {"tiers": 2, "strong_tiers": (0,), "weak_tier": 1}
    with pytest.raises(InputError, match="name two of these with --strong and --weak"):
        lesson(Bert(**tiers), three, none_of(three), battles=others)


def test_the_pair_and_its_tiers_where_nothing_is_given(pair, battles):
    strangers = replace(battles, candidates=("x", "y", "z"))
    met = usual_settings(Bert, {}, train=pair, battles=battles)
    assert set(met) == {"strong", "weak"}
    assert usual_settings(Bert, {}, train=pair, battles=strangers) == met | usual_tiers(3)
    assert usual_settings(Bert, PAIR, train=none_of(pair), battles=strangers) == usual_tiers(3)
    assert usual_settings(Bert, PAIR | {"tiers": 4}, train=pair, battles=strangers) == {}
    alone = none_of(battles)
    assert usual_settings(Bert, {}, train=alone, battles=battles) == usual_tiers(3)


def test_a_battle_tells_no_grade(pair, battles):
    with pytest.raises(InputError, match="'target' is 'grade', which is about a reward itself"):
        lesson(CausalLM(**PAIR), pair, none_of(pair), battles=battles)
    usual = usual_settings(CausalLM, PAIR, train=pair, battles=battles)
    assert usual == {"target": "outcome"}
    assert len(lesson(CausalLM(**PAIR, **usual), pair, none_of(pair), battles=battles).train) == 11


@pytest.mark.parametrize(
    ("n", "tiers", "strong", "weak"),
    [(2, 2, (0,), 1), (14, 2, (0,), 1), (20, 3, (0,), 1), (50, 8, (0, 1), 2), (64, 10, (0, 1), 2)],
)
def test_sixty_candidates_are_cut_as_routellm_cuts_them(n, tiers, strong, weak):
    assert usual_tiers(n) == {"tiers": tiers, "strong_tiers": strong, "weak_tier": weak}
