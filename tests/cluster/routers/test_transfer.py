from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.cluster_table import ClusterTable
from cluster.routers.gain import Gain
from cluster.routers.knn import Knn
from cluster.routers.post_answer import PostAnswer
from cluster.routers.router import Prediction
from cluster.routers.similarity_weighted import SimilarityWeighted
from cluster.routers.transfer import TransferredRouter, transfer

SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])
PAIR = {"strong": "adder", "weak": "roman"}
OTHERS = {"strong": "large", "weak": "small"}


@pytest.fixture
def three(make_two_tasks):
    return make_two_tasks(120)


def columns(prediction: Prediction, *places: int) -> Prediction:
    where = list(places)
    return Prediction(prediction.reward[:, where], prediction.completion_tokens[:, where])


def same(first: Prediction, second: Prediction) -> bool:
    return np.array_equal(first.reward, second.reward) and np.array_equal(
        first.completion_tokens, second.completion_tokens
    )


@pytest.mark.parametrize("method", [Gain(**PAIR), SimilarityWeighted(**PAIR)])
def test_the_learned_pair_goes_by_other_names(three, method):
    router = method.fit(three, seed=0)
    moved = transfer(router, **OTHERS)
    assert moved.candidates == ("large", "small")
    assert same(moved.predict(ASKED), router.predict(ASKED))


def test_one_of_the_names_may_be_the_same(three):
    router = Gain(**PAIR).fit(three, seed=0)
    moved = transfer(router, strong="adder", weak="small")
    assert moved.candidates == ("adder", "small")
    assert same(moved.predict(ASKED), router.predict(ASKED))


def test_candidates_that_are_known_speak_for_themselves(three):
    router = Knn().fit(three, seed=0)
    moved = transfer(router, strong="both", weak="adder")
    assert moved.candidates == ("both", "adder")
    assert same(moved.predict(ASKED), columns(router.predict(ASKED), 2, 0))


def test_a_learned_pair_can_be_named(three):
    router = ClusterTable().fit(three, seed=0)
    moved = transfer(router, **OTHERS, learned=("roman", "both"))
    assert moved.candidates == ("large", "small")
    assert same(moved.predict(ASKED), columns(router.predict(ASKED), 1, 2))


def test_what_was_named_comes_before_the_names_own_columns(three):
    router = Knn().fit(three, seed=0)
    moved = transfer(router, strong="both", weak="adder", learned=("adder", "roman"))
    assert same(moved.predict(ASKED), columns(router.predict(ASKED), 0, 1))


def test_an_answer_is_read_from_who_takes_the_readers_place(three):
    answers = pl.DataFrame(
        {name: [f"{row} it is, says {name}" for row in range(120)] for name in three.candidates}
    )
    router = PostAnswer(**PAIR).fit(replace(three, answers=answers), seed=0)
    moved = transfer(router, **OTHERS)
    assert router.reads_answer_of == "roman"
    assert moved.reads_answer_of == "small"
    read = pl.Series(["12 it is", "no idea", "", None, "IV"])
    assert same(moved.predict_after(ASKED, read), router.predict_after(ASKED, read))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"strong": "large", "weak": "small"}, "'large' and 'small' not among .* knn has learned"),
        ({"strong": "adder", "weak": "small"}, "'small' not among the candidates"),
        ({"strong": "adder", "weak": "adder"}, "two different"),
        ({"strong": "", "weak": "adder"}, "two different"),
        ({**OTHERS, "learned": ("adder", "gpt")}, "names 'gpt', which is not among"),
        ({**OTHERS, "learned": ("adder", "adder")}, "twice 'adder'"),
    ],
)
def test_what_is_open_is_asked_for(three, asked, words):
    with pytest.raises(InputError, match=words):
        transfer(Knn().fit(three, seed=0), **asked)


def test_two_candidates_of_a_method_without_a_strong_one_are_open(make_outcomes):
    outcomes = make_outcomes(["a text", "b text"], ["t"] * 2, [[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(InputError, match="no strong/weak pair"):
        transfer(Knn().fit(outcomes, seed=0), **OTHERS)


@pytest.mark.parametrize("learned", [None, ("both", "roman")])
def test_a_state_brings_it_back_bit_for_bit(three, learned):
    router = (SimilarityWeighted() if learned else SimilarityWeighted(**PAIR)).fit(three, seed=0)
    moved = transfer(router, **OTHERS, learned=learned)
    back = TransferredRouter.from_state(moved.state(), candidates=moved.candidates)
    assert same(back.predict(ASKED), moved.predict(ASKED))


@pytest.mark.parametrize("columns", [[0], [0, 7], [0, 1, 2]])
def test_damaged_columns_are_refused(three, columns):
    state = transfer(SimilarityWeighted(**PAIR).fit(three, seed=0), **OTHERS).state()
    damaged = replace(state, config={**state.config, "columns": columns})
    with pytest.raises(InputError, match="columns"):
        TransferredRouter.from_state(damaged, candidates=("large", "small"))
