"""Who may answer: each constraint takes some out, and the last one that does is told."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cluster.errors import InputError
from cluster.policies.constraints import Asked, Constraints
from cluster.policies.exploration import drawn, explore, narrowed
from cluster.policies.rules import Rule

NAMES = ("a", "b", "c")


def asked(texts, *, eligible=None, tokens=10.0, **columns):
    shape = (len(texts), 3)
    return Asked(
        frame=pl.DataFrame({"text": texts, **columns}),
        texts=pl.Series(texts),
        prompt_tokens=np.broadcast_to(np.asarray(tokens, dtype=float), shape),
        completion_tokens=np.full(shape, 5.0),
        eligible=np.ones(shape, dtype=bool) if eligible is None else eligible,
    )


def who(admitted):
    """The names that are left for each query."""
    return ["".join(np.array(NAMES)[row]) for row in admitted.allowed]


def admit(queries, **settings):
    return Constraints(**settings).admit(queries, candidates=NAMES)


def test_without_constraints_everyone_that_can_be_chosen_may_answer() -> None:
    eligible = np.array([[True, True, True], [True, False, True]])
    admitted = admit(asked(["one", "two"], eligible=eligible))
    assert who(admitted) == ["abc", "ac"]
    assert admitted.reasons.to_list() == [None, None]


def test_a_query_that_is_too_long_for_a_candidate_is_not_for_it() -> None:
    queries = asked(["short", "long", "longest"], tokens=[[10.0], [100.0], [1000.0]])
    admitted = admit(queries, context={"a": 15, "b": 200, "c": 500})
    assert who(admitted) == ["abc", "bc", ""]
    assert admitted.reasons[:2].to_list() == [None, None]
    assert "take 1005 tokens" in admitted.reasons[2]
    assert "the most is 500" in admitted.reasons[2]


def test_the_longest_context_is_that_of_the_candidates_that_are_allowed() -> None:
    queries = asked(["long"], tokens=[[100.0, 200.0, 10.0]])
    admitted = admit(queries, allowed=("a", "b"), context={"a": 15, "b": 50})
    assert "take 105 tokens" in admitted.reasons[0]
    assert "the most is 50)" in admitted.reasons[0]


def test_without_a_known_tokenizer_four_characters_are_a_token() -> None:
    queries = asked(["x" * 39, "x" * 41], tokens=np.nan)
    assert who(admit(queries, context={"a": 15})) == ["abc", "bc"]


def test_rules_count_one_after_the_other_and_the_one_that_leaves_nobody_is_told() -> None:
    rules = (
        Rule(tag="medical", only=("a", "b")),
        Rule(tag="secret", never=("b", "c")),
        Rule(tag="code", only="c"),
    )
    queries = asked(list("1234"), task=["medical", "secret", "code", "other"])
    admitted = admit(queries, rules=rules, tag_column="task", allowed=("a", "b"))
    assert who(admitted) == ["ab", "a", "", "ab"]
    assert '{"tag": ["code"], "only": ["c"]}' in admitted.reasons[2]


def test_who_is_preferred_answers_where_the_rest_allows_it() -> None:
    queries = asked(list("123"), tokens=[[1.0], [1.0], [99.0]], task=["code", "chat", "code"])
    rules = (Rule(tag="code", prefer=("b", "c")),)
    admitted = admit(queries, rules=rules, tag_column="task", context={"b": 50, "c": 10})
    assert who(admitted) == ["bc", "abc", "a"]


def test_the_language_is_read_from_a_column_or_from_the_text() -> None:
    texts = ["Was ist die Hauptstadt von Frankreich?", "What is the capital of France?"]
    rules = (Rule(not_language="en", never="a"),)
    assert who(admit(asked(texts), rules=rules)) == ["bc", "abc"]
    told = admit(asked(texts, lang=["en-GB", None]), rules=rules, language_column="lang")
    assert who(told) == ["abc", "bc"]


def test_the_fallback_takes_what_nobody_may_answer_if_it_can_be_chosen_at_all() -> None:
    eligible = np.array([[True, True, True], [False, True, True]])
    queries = asked(["one", "two"], eligible=eligible, task=["x", "x"])
    rules = (Rule(tag="x", never=NAMES),)
    admitted = admit(queries, rules=rules, tag_column="task", fallback="a")
    assert who(admitted) == ["a", ""]
    assert admitted.fallbacks.tolist() == [True, False]
    assert admitted.reasons[0] is None
    assert "never" in admitted.reasons[1]


def test_what_cannot_be_chosen_at_all_is_told_as_such() -> None:
    eligible = np.zeros((1, 3), dtype=bool)
    assert "not known" in admit(asked(["one"], eligible=eligible)).reasons[0]


def test_an_empty_batch_is_nothing_to_ask_about() -> None:
    rules = (Rule(tag="x", only="a"), Rule(language="de", only="a"))
    queries = asked(pl.Series([], dtype=pl.String), task=pl.Series([], dtype=pl.String))
    admitted = admit(
        queries, rules=rules, tag_column="task", context={"a": 1}, allowed=("a",), fallback="a"
    )
    assert admitted.allowed.shape == (0, 3)


def test_names_that_the_router_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="--allowed d: not among the router's candidates"):
        Constraints(allowed=("a", "d")).check(NAMES)
    rules = (Rule(tag="x", only="a"), Rule(tag="x", never="z"))
    with pytest.raises(InputError, match=r"rules.yaml: rule 2: z"):
        Constraints(rules=rules).check(NAMES, rules_file="rules.yaml")


def test_only_columns_that_a_rule_reads_are_asked_for() -> None:
    both = {"tag_column": "task", "language_column": "lang"}
    assert Constraints(**both).columns() == ()
    assert Constraints(rules=(Rule(tag="x", only="a"),), **both).columns() == ("task",)
    assert Constraints(rules=(Rule(language="de", only="a"),), **both).columns() == ("lang",)


ROWS = 5000
TEXTS = pl.Series([f"question {row}" for row in range(ROWS)])


def test_a_share_explores_evenly_and_weights_undo_it() -> None:
    allowed = np.ones((ROWS, 3), dtype=bool)
    allowed[:1000, 2] = False
    explored = drawn(TEXTS, allowed=allowed, share=0.2)
    assert 0.18 < (explored >= 0).mean() < 0.22
    assert (explored[:1000] != 2).all()
    chosen = np.zeros(ROWS, dtype=np.int64)
    final, probability = explore(chosen, explored=explored, allowed=allowed, share=0.2)
    assert np.where(explored < 0, chosen, explored).tolist() == final.tolist()
    # Each candidate's rows, weighted by the inverse, stand for all rows it was allowed on.
    for column in range(3):
        weight = (1 / probability[final == column]).sum()
        assert weight == pytest.approx(allowed[:, column].sum(), rel=0.1)


@given(arrays(bool, (50, 3)), st.floats(0, 1))
def test_exploration_depends_on_the_text_and_stays_among_those_that_may(allowed, share) -> None:
    allowed[~allowed.any(axis=1), 1] = True
    explored = drawn(TEXTS[:50], allowed=allowed, share=share)
    alone = [
        drawn(TEXTS[row : row + 1], allowed=allowed[row : row + 1], share=share)[0]
        for row in range(50)
    ]
    assert explored.tolist() == alone
    rows = np.flatnonzero(explored >= 0)
    assert allowed[rows, explored[rows]].all()
    narrow = narrowed(allowed, explored=explored)
    assert (narrow[rows].sum(axis=1) == 1).all()
    assert (np.delete(narrow, rows, axis=0) == np.delete(allowed, rows, axis=0)).all()


def test_none_explore_at_a_share_of_nothing_and_all_at_one() -> None:
    allowed = np.ones((ROWS, 2), dtype=bool)
    assert (drawn(TEXTS, allowed=allowed, share=0) == -1).all()
    assert (drawn(TEXTS, allowed=allowed, share=1) >= 0).all()
