"""What every scorer owes: identity, range, nulls, and no text it stumbles over."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.plugins import plugin_names
from cluster.rewards.scorer import Scorer, load_scorer

SCORERS = ("exact", "numeric", "multiple_choice", "gold_option", "f1", "regex")
TEXT = st.text() | st.text(alphabet="aAbBiI 0123456789.,-+/%$#*(){}[]\\:=^_x×\n'answeridb")


def score(scorer: Scorer, pairs: list[tuple[str | None, str | None]]) -> list[float | None]:
    answers = pl.DataFrame(
        [("q", text, reference) for text, reference in pairs],
        schema={"query": pl.String, "text": pl.String, "reference": pl.String},
        orient="row",
    )
    rewards = scorer.score(answers)
    assert rewards.dtype == pl.Float64
    return rewards.to_list()


def test_ours_are_registered():
    assert set(SCORERS) <= set(plugin_names("scorers"))


@pytest.mark.parametrize("name", SCORERS)
@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT), max_size=5))
def test_any_text_scores_within_range_and_missing_stays_missing(name, pairs):
    rewards = score(load_scorer(name), pairs)
    assert len(rewards) == len(pairs)
    assert all(reward is None or 0.0 <= reward <= 1.0 for reward in rewards)
    for (text, reference), reward in zip(pairs, rewards, strict=True):
        if text is None or reference is None or not reference.strip():
            assert reward is None


@pytest.mark.parametrize("name", SCORERS)
@settings(deadline=None)
@given(text=st.none() | TEXT, reference=st.none() | TEXT, others=st.lists(TEXT, max_size=3))
def test_a_reward_does_not_depend_on_the_other_rows(name, text, reference, others):
    scorer = load_scorer(name)
    alone = score(scorer, [(text, reference)])
    among = score(scorer, [*((other, other) for other in others), (text, reference)])
    assert among[-1:] == alone


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("exact", "Paris"),
        ("numeric", "1,234.50"),
        ("multiple_choice", "(C)"),
        ("f1", "Paris, Texas"),
        ("regex", "[Pp]aris|right"),
    ],
)
def test_the_reference_itself_is_right(name, right):
    said = "that is right" if name == "regex" else right
    assert score(load_scorer(name), [(said, right), ("none of it", right)]) == [1.0, 0.0]


@pytest.mark.parametrize("name", ["exact", "numeric", "multiple_choice", "f1", "regex"])
@pytest.mark.parametrize(
    "piece",
    [
        "1", "1 ", "111,", "111 ", "111.", "11,", "1/", "1e", "1+", "$", "-", "½", "²", "10^{",
        "\\boxed{", "{", "####", "#### ", "answer: ", "answer is ", "answer", "\\frac{", "\n", " ",
        "*", "B", "B,", "B or ", "B/", "(", "(A", "option ", "\t\n", "a\u0301", "\u0301\u0323",
    ],
)  # fmt: skip
def test_an_endless_answer_is_read(name, piece):
    """A pattern that backtracks needs hours for these; one that does not, under a second."""
    endless = piece * (100_000 // len(piece))
    reference = {"multiple_choice": "J", "regex": "(7+)+$"}.get(name, "7")
    assert score(load_scorer(name), [(endless, reference)]) == [0.0]
    assert score(load_scorer(name), [("no", endless)])[0] in (0.0, None) or name == "regex"


def test_settings_and_names_make_the_identity():
    scorers = [
        load_scorer("numeric"),
        load_scorer("numeric", tolerance=1e-3),
        load_scorer("exact"),
        load_scorer("exact", alternatives="|"),
        load_scorer("multiple_choice"),
    ]
    assert len({scorer.scorer_id for scorer in scorers}) == len(scorers)
    assert load_scorer("numeric", tolerance=1e-6).scorer_id == load_scorer("numeric").scorer_id


def test_a_new_version_is_a_new_identity():
    class Newer(type(load_scorer("exact"))):
        version = 2

    assert Newer().scorer_id != load_scorer("exact").scorer_id
    assert Newer().spec() == {"scorer": "exact", "version": 2, "alternatives": None}


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("nobody", {}, ["nobody", "numeric"]),
        ("numeric", {"tolerence": 1.0}, ["tolerence", "tolerance"]),
        ("numeric", {"tolerance": -1.0}, ["tolerance", "-1.0"]),
        ("numeric", {"tolerance": float("nan")}, ["tolerance"]),
        ("exact", {"alternatives": ""}, ["alternatives"]),
        ("f1", {"alternatives": ""}, ["alternatives"]),
        ("regex", {"pattern": "(7"}, ["pattern", "(7", "unclosed group"]),
        ("regex", {"pattern": "7(?=8)"}, ["pattern", "look-ahead"]),
        ("math", {"seconds": 0}, ["seconds"]),
        ("json_schema", {"json_schema": {"type": "strin"}}, ["json_schema", "strin"]),
    ],
)
def test_wrong_settings_are_named(name, settings, words):
    with pytest.raises(InputError) as error:
        load_scorer(name, **settings)
    assert all(word in str(error.value) for word in words)


def test_a_scorer_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_scorer("numeric").tolerance = 0.5
