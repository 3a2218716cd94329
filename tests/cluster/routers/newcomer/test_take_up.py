"""What nobody can take up, and how it is told."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers.best_single import BestSingle
from cluster.routers.gain import Gain
from cluster.routers.mf import MatrixFactorisation
from cluster.routers.newcomer import with_candidate
from cluster.routers.router import Router
from cluster.routers.similarity_weighted import SimilarityWeighted

KNOWN = ("steady", "sums", "capitals")


def test_what_cannot_be_taken_up_is_told(setting, without):
    train, probe, _ = setting
    base = BestSingle().fit(without(train, "poet"), seed=0)
    with pytest.raises(InputError, match="'steady' is one of the router's already"):
        with_candidate(base, "steady", probe=probe)
    with pytest.raises(InputError, match="'nobody' has no outcomes in the probe; those that have"):
        with_candidate(base, "nobody", probe=probe)
    unscored = replace(probe, reward=np.full_like(probe.reward, np.nan))
    with pytest.raises(InputError, match="'poet' has no reward on any probe"):
        with_candidate(base, "poet", probe=unscored)


def test_a_method_that_cannot_says_so(setting):
    class Fixed(Router):
        method = "fixed"
        candidates = KNOWN
        predict = state = from_state = None

    with pytest.raises(InputError, match="fixed cannot take up a candidate without retraining"):
        with_candidate(Fixed(), "poet", probe=setting[1])


@pytest.mark.parametrize(
    "method",
    [Gain(), SimilarityWeighted(), MatrixFactorisation(epochs=1, hidden=4)],
    ids=lambda method: method.name,
)
def test_there_is_no_third_in_a_pair(setting, without, method):
    pair = without(without(setting[0], "poet"), "steady").take(np.arange(200))
    router = method.fit(pair, seed=0)
    expected = rf"{method.name} was fitted for the pair '\w+' and '\w+' .*no place for a third"
    with pytest.raises(InputError, match=expected):
        with_candidate(router, "poet", probe=setting[1])


def test_of_two_candidates_that_are_no_pair_a_third_is_taken_up(setting, without):
    two = without(without(setting[0], "poet"), "steady")
    router = with_candidate(BestSingle().fit(two, seed=0), "poet", probe=setting[1])
    assert router.candidates == ("sums", "capitals", "poet")
