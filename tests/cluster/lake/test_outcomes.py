"""The outcomes view: means by weight, what is missing, what was cut, and at which version."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, read_outcomes
from cluster.lake.tables import CANDIDATES, COMPLETIONS, QUERIES, REWARDS, SCORERS, Table

NAN = float("nan")


def add(lake: Lake, table: Table, *rows: dict) -> None:
    append_new(pl.DataFrame(list(rows), schema=table.schema), lake=lake, table=table)


def query(name: str, **fields) -> dict:
    given = {"dataset": "d", "task": "t", "split": "train", "sampling_probability": 1.0}
    return {"query_id": name, "text": f"text of {name}", **given, **fields}


def reward(name: str, candidate: str, value: float | None, **fields) -> dict:
    given = {"sample": 0, "scorer_id": "exact-id", "weight": 1.0}
    return {"query_id": name, "candidate_id": candidate, "value": value, **given, **fields}


def answer(name: str, candidate: str, **fields) -> dict:
    given = {"sample": 0, "outcome": "ok", "prompt_tokens": 10, "completion_tokens": 5}
    return {"query_id": name, "candidate_id": candidate, **given, **fields}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two queries, two candidates, one scorer; no answers and no rewards yet."""
    lake = Lake.open(tmp_path / "lake")
    add(lake, QUERIES, query("q1"), query("q2", task="u", split="test"))
    names = [("id-a", "a"), ("id-b", "b")]
    add(
        lake,
        CANDIDATES,
        *[{"candidate_id": i, "sequence": 1, "name": n, "spec": "{}"} for i, n in names],
    )
    add(lake, SCORERS, {"scorer_id": "exact-id", "name": "exact", "spec": "{}"})
    return lake


def view(lake: Lake, **kwargs):
    return read_outcomes(lake, **{"dataset": "d", "scorer": "exact", **kwargs})


def test_cells_are_where_their_query_and_candidate_are(lake: Lake) -> None:
    add(lake, REWARDS, reward("q2", "id-a", 0.25), reward("q1", "id-b", 0.75))
    add(lake, COMPLETIONS, answer("q2", "id-a", cost_usd=0.5), answer("q1", "id-b"))
    found = view(lake)
    assert found.queries["query_id"].to_list() == ["q1", "q2"]
    assert (found.candidates, found.candidate_ids) == (("a", "b"), ("id-a", "id-b"))
    np.testing.assert_array_equal(found.reward, [[NAN, 0.75], [0.25, NAN]])
    np.testing.assert_array_equal(found.n_samples, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(found.prompt_tokens, [[NAN, 10], [10, NAN]])
    np.testing.assert_array_equal(found.completion_tokens, [[NAN, 5], [5, NAN]])
    np.testing.assert_array_equal(found.cost_usd, [[NAN, NAN], [0.5, NAN]])
    assert found.tasks.tolist() == ["t", "u"]


def test_a_mean_weighs_its_samples(lake: Lake) -> None:
    rows = [(0, 1.0, 3.0), (1, 0.0, 1.0), (2, 0.5, 4.0)]
    add(lake, REWARDS, *[reward("q1", "id-a", v, sample=s, weight=w) for s, v, w in rows])
    found = view(lake)
    assert found.reward[0, 0] == pytest.approx((3 + 0 + 2) / 8)
    assert found.n_samples[0, 0] == 8


def test_errors_are_missing_and_never_zero(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 0.0), reward("q2", "id-b", NAN))
    failed = {"prompt_tokens": 0, "completion_tokens": 0, "outcome": "error", "error": "broke"}
    add(lake, COMPLETIONS, answer("q1", "id-a"), answer("q2", "id-a", **failed))
    add(lake, COMPLETIONS, answer("q1", "id-a", sample=1, **failed))
    found = view(lake)
    assert found.mask.tolist() == [[True], [False]]
    assert found.reward[0, 0] == 0.0
    assert found.completion_tokens[0, 0] == 5
    assert np.isnan(found.completion_tokens[1, 0])


def test_truncated_answers_are_scored_and_flagged(lake: Lake) -> None:
    add(lake, REWARDS, *[reward("q1", "id-a", 1.0, sample=n) for n in range(4)])
    cut = {"outcome": "truncated", "completion_tokens": 9}
    add(lake, COMPLETIONS, answer("q1", "id-a", sample=0, **cut))
    add(lake, COMPLETIONS, *[answer("q1", "id-a", sample=n) for n in (1, 2, 3)])
    found = view(lake)
    assert found.truncated[0, 0] == 0.25
    assert found.completion_tokens[0, 0] == 6
    assert found.reward[0, 0] == 1.0


def test_raw_values_are_stored_and_normalised_in_the_view_alone(lake: Lake) -> None:
    add(lake, QUERIES, query("q3"))
    add(lake, REWARDS, reward("q1", "id-a", -4.0), reward("q1", "id-b", 0.0))
    add(lake, REWARDS, reward("q3", "id-a", 4.0))
    expected = [[0.0, 0.5], [NAN, NAN], [1.0, NAN]]
    np.testing.assert_array_equal(view(lake, normalisation="min_max").reward, expected)
    np.testing.assert_array_equal(view(lake).reward, [[-4.0, 0.0], [NAN, NAN], [4.0, NAN]])


@pytest.mark.parametrize("normalisation", ["min_max", "z_score", "sigmoid", "rank"])
def test_a_test_row_moves_no_other_row_s_value(lake: Lake, normalisation: str) -> None:
    add(lake, REWARDS, reward("q1", "id-a", -4.0), reward("q1", "id-b", 0.0))
    before = view(lake, normalisation=normalisation).reward[0]
    add(lake, REWARDS, reward("q2", "id-a", 900.0), reward("q2", "id-b", -700.0))
    found = view(lake, normalisation=normalisation).reward
    np.testing.assert_array_equal(found[0], before)
    assert found[1, 0] > found[1, 1]
    if normalisation != "z_score":
        assert found[1].tolist() == pytest.approx([1.0, 0.0])


def test_a_temperature_makes_a_sigmoid_softer(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 10.0), reward("q1", "id-b", 14.0))
    sharp, soft = (
        view(lake, normalisation="sigmoid", temperature=t).reward[0] for t in (1.0, 10.0)
    )
    # One standard deviation of two values is half their distance.
    assert sharp.tolist() == pytest.approx([1 / (1 + np.e), 1 / (1 + 1 / np.e)])
    assert abs(soft[1] - 0.5) < abs(sharp[1] - 0.5)


def test_ranks_are_among_the_candidates_that_are_read(lake: Lake) -> None:
    add(lake, CANDIDATES, {"candidate_id": "id-c", "sequence": 1, "name": "c", "spec": "{}"})
    values = {"id-a": 7.0, "id-b": 9.0, "id-c": 8.0}
    add(lake, REWARDS, *[reward("q1", name, value) for name, value in values.items()])
    assert view(lake, normalisation="rank").reward[0].tolist() == [0.0, 1.0, 0.5]
    two = view(lake, normalisation="rank", candidates=["a", "c"])
    assert two.reward[0].tolist() == [0.0, 1.0]


def test_where_nothing_is_learned_from_all_rows_make_the_scale(lake: Lake) -> None:
    add(lake, REWARDS, reward("q2", "id-a", 1.0), reward("q2", "id-b", 3.0))
    assert view(lake, normalisation="min_max").reward[1].tolist() == [0.0, 1.0]


def test_a_constant_reward_is_normalised_to_the_middle(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 3.0), reward("q2", "id-a", 3.0))
    for normalisation, middle in (
        ("min_max", 0.5),
        ("sigmoid", 0.5),
        ("rank", 0.5),
        ("z_score", 0),
    ):
        assert view(lake, normalisation=normalisation).reward.tolist() == [[middle], [middle]]


def test_candidates_of_one_name_are_told_apart_by_their_ids(lake: Lake) -> None:
    add(lake, CANDIDATES, {"candidate_id": "0123456789", "sequence": 1, "name": "a", "spec": "{}"})
    add(lake, REWARDS, *[reward("q1", c, 1.0) for c in ("id-a", "id-b", "0123456789")])
    assert view(lake).candidates == ("a@01234567", "a@id-a", "b")
    chosen = view(lake, candidates=["b", "a@id-a"])
    assert chosen.candidate_ids == ("id-b", "id-a")
    with pytest.raises(InputError, match=r"candidates a have no reward.*a@01234567, a@id-a, b"):
        view(lake, candidates=["a"])


def test_chosen_candidates_keep_the_given_order(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 0.1), reward("q1", "id-b", 0.9))
    assert view(lake, candidates=["b", "a"]).reward[0].tolist() == [0.9, 0.1]
    assert view(lake, candidates=["b"]).reward.tolist()[0] == [0.9]


def test_a_pinned_view_does_not_move(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 1.0))
    pinned = lake.versions(INPUTS)
    add(lake, REWARDS, reward("q1", "id-b", 0.5), reward("q2", "id-a", 0.5))
    add(lake, QUERIES, query("q3"))
    add(lake, COMPLETIONS, answer("q1", "id-a"))
    before = view(lake, versions=pinned)
    assert before.candidates == ("a",)
    assert before.queries["query_id"].to_list() == ["q1", "q2"]
    np.testing.assert_array_equal(before.reward, [[1.0], [NAN]])
    assert np.isnan(before.completion_tokens).all()
    assert view(lake).reward.shape == (3, 2)


def test_datasets_do_not_mix(lake: Lake) -> None:
    add(lake, QUERIES, query("other", dataset="e"))
    add(lake, REWARDS, reward("q1", "id-a", 1.0), reward("other", "id-b", 1.0))
    assert view(lake).candidates == ("a",)
    assert view(lake, dataset="e").candidates == ("b",)


def test_an_unknown_dataset_is_named_with_those_there(lake: Lake) -> None:
    add(lake, QUERIES, query("other", dataset="e"))
    with pytest.raises(InputError, match=rf"dataset 'x' is not in {lake.storage.uri}.*: d, e"):
        view(lake, dataset="x")


def test_an_unknown_scorer_is_named_with_those_there(lake: Lake) -> None:
    add(lake, SCORERS, {"scorer_id": "unused-id", "name": "numeric", "spec": "{}"})
    add(lake, REWARDS, reward("q1", "id-a", 1.0))
    for scorer in ("x", "numeric"):
        with pytest.raises(InputError, match=rf"scorer '{scorer}'.*: exact; name one with"):
            view(lake, scorer=scorer)


def test_a_scorer_goes_by_name_or_id_and_the_only_one_need_not_be_named(lake: Lake) -> None:
    add(lake, REWARDS, reward("q1", "id-a", 1.0))
    assert [view(lake, scorer=s).reward[0, 0] for s in ("exact", "exact-id", "")] == [1.0] * 3


def test_of_two_settings_of_a_scorer_the_one_with_most_rewards_is_meant(lake: Lake) -> None:
    add(lake, SCORERS, {"scorer_id": "again-id", "name": "exact", "spec": "{}"})
    add(lake, REWARDS, reward("q1", "id-a", 1.0))
    add(lake, REWARDS, *[reward(q, "id-a", 0.5, scorer_id="again-id") for q in ("q1", "q2")])
    assert view(lake).reward.tolist() == [[0.5], [0.5]]
    np.testing.assert_array_equal(view(lake, scorer="exact-id").reward, [[1.0], [NAN]])


def test_an_unnamed_scorer_among_several_is_asked_for(lake: Lake) -> None:
    add(lake, SCORERS, {"scorer_id": "n-id", "name": "numeric", "spec": "{}"})
    add(lake, REWARDS, reward("q1", "id-a", 1.0), reward("q1", "id-a", 0.0, scorer_id="n-id"))
    with pytest.raises(InputError, match=r"exact, numeric; name one with --scorer"):
        view(lake, scorer="")


def test_queries_without_rewards_are_all_missing(lake: Lake) -> None:
    with pytest.raises(InputError, match=r"scorers that have scored it: none"):
        view(lake)


def test_a_scorer_all_of_whose_rewards_are_missing_is_told_of_with_why(lake: Lake) -> None:
    why = {"reason": "unparsable: 'maybe'"}
    add(lake, REWARDS, *[reward(name, "id-a", None, **why) for name in ("q1", "q2")])
    with pytest.raises(InputError, match=r"'exact' has 2 rewards.*all are missing \(2 unparsable"):
        view(lake)


def test_of_two_specs_of_a_name_the_one_with_most_values_is_read(lake: Lake) -> None:
    add(lake, SCORERS, {"scorer_id": "a-newer-id", "name": "exact", "spec": "{}"})
    add(lake, REWARDS, *[reward(name, "id-a", None, reason="why") for name in ("q1", "q2")])
    add(lake, REWARDS, reward("q1", "id-a", 0.5, scorer_id="a-newer-id"))
    np.testing.assert_array_equal(view(lake).reward, [[0.5], [NAN]])
