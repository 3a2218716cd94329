"""What is held out, what leaks, and what is known where there is nothing but battles."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.prepared import battles_alone, prepare, stated_order
from cluster.outcome import OutcomeMatrix
from cluster.routers.knn import Knn
from cluster.routers.similarity_weighted import SimilarityWeighted


def matrix(texts: list[str], splits: list[str], *, names=("large", "small")) -> OutcomeMatrix:
    n = len(texts)
    queries = pl.DataFrame(
        {
            "query_id": [f"{splits[row]}-{row}" for row in range(n)],
            "dataset": ["d"] * n,
            "task": ["t"] * n,
            "split": splits,
            "text": texts,
            "sampling_probability": [1.0] * n,
        }
    )
    unknown = np.full((n, len(names)), np.nan)
    reward = np.tile([1.0, 0.0, 0.5][: len(names)], (n, 1))
    return OutcomeMatrix(
        queries, names, names, reward, unknown, unknown, unknown, np.ones_like(reward), 0 * reward
    )


def words(kind: str, n: int) -> list[str]:
    return [f"{kind} number {row} of many different ones" for row in range(n)]


@pytest.fixture
def measured() -> OutcomeMatrix:
    return matrix(words("query", 5), ["test"] * 5)


@pytest.fixture
def battles() -> OutcomeMatrix:
    texts = [*words("battle", 6), "query number 3 of many different ones"]
    return matrix(texts, ["train"] * 4 + ["validation", "test", "train"])


PAIR = ("large", "small")


def test_a_dataset_without_a_train_row_is_measured_by_battles_alone(measured, battles) -> None:
    data = prepare(measured, battles=battles, pair=PAIR)
    assert (len(data.train), len(data.validation), len(data.test)) == (0, 0, 5)
    assert data.battles is not None
    assert data.battles.queries["split"].to_list() == ["train"] * 4 + ["validation"]
    seen = data.lesson(SimilarityWeighted())
    assert (len(seen.train), len(seen.validation)) == (4, 1)
    with pytest.raises(InputError, match="no train query has one"):
        data.lesson(Knn())
    with pytest.raises(InputError, match="no query of split 'train'"):
        prepare(measured)


def test_a_battle_that_repeats_a_measured_query_is_left_out(measured, battles) -> None:
    data = prepare(measured, battles=battles, pair=PAIR)
    assert data.near_duplicates == 1
    assert "query number 3 of many different ones" not in data.battles.texts.to_list()


def test_a_battle_of_train_that_repeats_one_of_validation_is_left_out(measured, battles) -> None:
    twin = battles.queries.with_columns(
        text=pl.col("text").replace({battles.texts[0]: battles.texts[4]})
    )
    data = prepare(measured, battles=replace(battles, queries=twin), pair=PAIR)
    assert data.near_duplicates == 2
    assert data.battles.queries["split"].to_list() == ["train"] * 3 + ["validation"]


def test_baselines_never_see_a_battle(battles) -> None:
    outcomes = matrix(words("query", 9), ["train"] * 3 + ["validation"] + ["test"] * 5)
    data = prepare(outcomes, battles=battles)
    assert data.known.texts.to_list() == words("query", 4)
    assert len(data.lesson(SimilarityWeighted()).train) == 3 + 5


def test_all_that_is_known_beforehand_is_what_was_stated(measured, battles) -> None:
    for strong, weak in (PAIR, PAIR[::-1]):
        data = prepare(measured, battles=battles, pair=(strong, weak))
        best = data.known.candidates[int(np.argmax(data.known.reward[0]))]
        assert best == strong


@pytest.mark.parametrize(
    ("pair", "names", "message"),
    [
        (None, ("a", "b"), "name it with --strong and the other with --weak; candidates are a, b"),
        (("a", "x"), ("a", "b"), "--weak x: no such candidate; there is a, b"),
        (("a", "b"), ("a", "b", "c"), "leave these two with --candidates; there is a, b, c"),
    ],
)
def test_what_was_not_stated_is_not_known(pair, names, message) -> None:
    with pytest.raises(InputError, match=message):
        stated_order(matrix(["one"], ["test"], names=names), pair=pair)


def test_battles_that_are_none_to_learn_from(measured, battles) -> None:
    held_out = replace(battles, queries=battles.queries.with_columns(split=pl.lit("test")))
    with pytest.raises(InputError, match="no battle of split 'train' is left"):
        prepare(measured, battles=held_out, pair=PAIR)
    with pytest.raises(InputError, match="no battle of split 'train' is left"):
        battles_alone(held_out)
