"""Scorers that say they need a reference reward nothing without one, whatever the answer."""

import polars as pl
import pytest

from cluster.rewards.scorer import load_scorer

ANSWERS = pl.DataFrame(
    {
        "query": ["Which one? A) this B) that"] * 4,
        "text": ["A", "12", "", None],
        "reference": [None, " ", "", None],
    }
)


@pytest.mark.parametrize(
    "name", ["exact", "numeric", "multiple_choice", "gold_option", "f1", "regex"]
)
def test_no_reward_without_a_reference(name: str) -> None:
    scorer = load_scorer(name)
    assert scorer.needs_reference
    assert scorer.score(ANSWERS).null_count() == ANSWERS.height
