"""What is said of judges: that they go by length, or against what is known."""

import json

import numpy as np
import polars as pl

from cluster.quality.report import report

JUDGE = json.dumps({"scorer": "judge", "mode": "grade"})


def judged(collect, gold, grades):
    # `a` writes the longer answers.
    text = pl.when(pl.col("candidate_id") == "id-a").then(pl.lit("a long answer"))
    made = collect(
        gold, answers={"text": pl.concat_str(text.otherwise(pl.lit("short")), "query_id")}
    )
    made.reward_by("graded", grades, spec=JUDGE)
    found = made.measure()
    return found, " | ".join(alarm.words for alarm in found.alarms if alarm.about == "judges")


def test_a_judge_that_goes_by_length_is_told(collect, specialists):
    found, words = judged(collect, specialists, np.tile([1.0, 0.25], (80, 1)))
    assert "For judge graded the longer answer wins 100 % of the time" in words
    apart = specialists[:, 0] != specialists[:, 1]
    right = (specialists[:, 0] > specialists[:, 1])[apart].mean()
    assert f"graded agrees with exact on {100 * right:.0f} % of {apart.sum()} pairs" in words
    assert "Whether judges are fair" in report(found).decode()


def test_of_a_fair_judge_nothing_is_said(collect, specialists):
    found, words = judged(collect, specialists, specialists)
    assert not words
    assert found.judges["agreement"].to_list() == [1.0]
    assert "graded (grade)" in report(found).decode()


def test_without_a_judge_there_is_no_word_of_one(collect, specialists):
    found = collect(specialists).measure()
    assert found.judges.is_empty()
    assert "judges" not in report(found).decode()
