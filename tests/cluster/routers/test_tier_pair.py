"""A pair out of tiers: who teaches whom, and that it is the same for every method."""

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers.bert import Bert
from cluster.routers.causal_lm import CausalLM
from cluster.routers.fit import settings_to_try
from cluster.routers.mf import MatrixFactorisation
from cluster.routers.similarity_weighted import SimilarityWeighted
from cluster.routers.tier_pair import NEITHER, STRONG, WEAK, paired_rows, tier_pair

NAN = float("nan")
METHODS = (MatrixFactorisation, SimilarityWeighted, Bert, CausalLM)
TIERS = {"tiers": 3, "strong_tiers": (0,), "weak_tier": 2}


@pytest.fixture
def make(make_outcomes):
    """`adder` beats `roman`, who beats `both`; each row knows two of them, the last one all."""

    def rows(n=12, last=((1, 1, 0),)):
        meetings = [(1, 0, NAN), (NAN, 1, 0), (1, NAN, 0), (0.5, NAN, 0.5)]
        reward = [meetings[row % 4] for row in range(n)] + list(last)
        return make_outcomes(
            [f"text {row}" for row in range(len(reward))], ["t"] * len(reward), reward
        )

    return rows


def test_sides_are_by_strength(make):
    found = tier_pair(Bert(**TIERS), make())
    assert found.side_of.tolist() == [STRONG, NEITHER, WEAK]
    assert found.columns == (0, 2)


def test_a_comparison_of_the_sides_is_a_row_of_the_pair(make):
    outcomes = make(n=4, last=())
    pair, origin = tier_pair(Bert(**TIERS), outcomes).rows(outcomes)
    assert pair.candidates == ("adder", "both")
    assert origin.tolist() == [2, 3]
    assert pair.reward.tolist() == [[1, 0], [0.5, 0.5]]


def test_a_named_pair_keeps_its_own_rewards_and_learns_from_the_sides(make):
    outcomes = make(n=4, last=((1, 1, 0),))
    named = Bert(**TIERS, strong="roman", weak="both")
    pair, origin = tier_pair(named, outcomes).rows(outcomes)
    assert pair.candidates == ("roman", "both")
    assert origin.tolist() == [1, 4, 2, 3]
    assert pair.reward.tolist() == [[1, 0], [1, 0], [1, 0], [0.5, 0.5]]


def test_a_candidate_that_never_fought_may_be_the_pairs(make_outcomes):
    reward = [[1, 0, NAN], [1, 0, NAN], [0.5, 0.5, NAN]]
    outcomes = make_outcomes(["a", "b", "c"], ["t"] * 3, reward)
    two = {"tiers": 2, "strong_tiers": (0,), "weak_tier": 1}
    found = tier_pair(Bert(**two, strong="both", weak="roman"), outcomes)
    assert found.side_of.tolist() == [STRONG, WEAK, NEITHER]
    assert found.rows(outcomes)[0].reward.tolist() == [[1, 0], [1, 0], [0.5, 0.5]]


def test_tiers_are_those_of_train_on_validation_too(make):
    validation = make(n=0, last=((0, NAN, 1),))
    _, judged = paired_rows(Bert(**TIERS), make(), validation)
    assert judged.candidates == ("adder", "both")
    assert judged.reward.tolist() == [[0, 1]]


def test_a_pair_is_not_paired_again(make):
    rows = paired_rows(Bert(**TIERS), make(), make(n=0))
    assert paired_rows(Bert(**TIERS), *rows) == rows


def test_more_tiers_than_there_are(make):
    with pytest.raises(InputError, match="make 3 tiers by strength, and tier 4 is named"):
        tier_pair(Bert(tiers=5, strong_tiers=(0,), weak_tier=4), make())


def test_sides_that_never_met(make_outcomes):
    outcomes = make_outcomes(["a", "b"] * 9, ["t"] * 18, [[1, 0, NAN], [NAN, 1, 0]] * 9)
    with pytest.raises(InputError, match="no candidate of 'strong_tiers' was compared"):
        paired_rows(Bert(**TIERS), outcomes, outcomes)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"tiers": 3, "strong_tiers": (0, 1)},
        {"tiers": 3, "weak_tier": 1},
        {"tiers": 3, "strong_tiers": (0, 1), "weak_tier": 1},
        {"tiers": 2, "strong_tiers": (0, 1), "weak_tier": 2},
        {"strong_tiers": (0,), "weak_tier": 1},
    ],
)
def test_tiers_that_make_no_pair(method, wrong):
    with pytest.raises(InputError, match=rf"'{method.name}': 'strong_tiers' and 'weak_tier' name"):
        settings_to_try(method, fixed=wrong)


def test_tiers_alone_are_players_of_similarity_weighted_only():
    assert SimilarityWeighted(tiers=3).tiers == 3
    for method in set(METHODS) - {SimilarityWeighted}:
        with pytest.raises(InputError, match="'tiers' takes 'strong_tiers'"):
            settings_to_try(method, fixed={"tiers": 3})


@pytest.mark.parametrize("method", METHODS[:3])
def test_a_method_learns_the_pair_by_itself(method, make_two_tasks):
    """`adder` and `roman` are good at one task each, `both` is in the middle of either."""
    train = make_two_tasks(160)
    settings = method(tiers=3, strong_tiers=(0,), weak_tier=2, **_quick(method))
    router = settings.fit(train, seed=0)
    strong, weak = (train.candidates[c] for c in tier_pair(settings, train).columns)
    assert router.candidates == (strong, weak)
    said = router.predict(train.texts).reward
    assert said.shape == (160, 2)
    assert np.isfinite(said).all()


def test_a_language_model_learns_the_pair_by_itself(make_two_tasks, pretrained):
    model = {"model": pretrained("llama"), "epochs": 1, "max_length": 48}
    tiers = {"tiers": 3, "strong_tiers": (0,), "weak_tier": 2}
    train = make_two_tasks(24)
    router = CausalLM(**model, **tiers, target="outcome").fit(train, seed=0)
    assert len(router.candidates) == 2
    with pytest.raises(InputError, match=r"'target' is 'grade'.*set target: outcome"):
        CausalLM(**model, **tiers).fit(train, seed=0)


def _quick(method):
    return {} if method is SimilarityWeighted else {"epochs": 2}
