"""The judgement on made-up files: the same mix is let pass, another mix and a new topic are not."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.drift.counts import DriftCounts, count_rows, count_shard, sampled_rows
from cluster.drift.drift import drift, refusal
from cluster.drift.fit import fit_profile

MIX = {"sums": 0.4, "law": 0.3, "cooking": 0.2, "code": 0.1}
OTHER = {"sums": 0.1, "law": 0.2, "cooking": 0.3, "code": 0.4}
WITH_NEW = {"sums": 0.36, "law": 0.27, "cooking": 0.18, "code": 0.09, "space": 0.1}


@pytest.fixture(scope="module")
def profile(queries):
    return fit_profile(queries(MIX, n=1200, seed=0), encoder=None, seed=0)


def judged(texts: pl.Series, profile):
    counts, _, _ = count_shard(texts, profile=profile, shard="a")
    return drift(counts, profile=profile)


def test_the_same_mix_raises_no_alarm_whatever_the_seed(queries, profile):
    found = [
        judged(queries(MIX, n=n, seed=seed)["text"], profile)
        for seed in range(1, 31)
        for n in (60, 800)
    ]
    assert not [one.alarms for one in found if one.alarms]
    # Nor is it only the size that matters which keeps it quiet.
    assert sum(one.psi > one.psi_limit for one in found) <= 1
    assert sum(one.far > one.far_limit for one in found) <= 1
    ratio = np.mean([one.psi / one.psi_by_chance for one in found])
    assert 0.6 < ratio < 1.3


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_mix_of_the_same_tasks_is_told(queries, profile, seed):
    found = judged(queries(OTHER, n=800, seed=seed)["text"], profile)
    assert found.is_other_mix
    assert not found.is_far
    assert "mix of queries" in found.alarms[0]


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_new_topic_is_far_away(queries, profile, seed):
    found = judged(queries(WITH_NEW, n=800, seed=seed)["text"], profile)
    assert found.is_far
    assert 0.05 < found.far < 0.15


def test_a_promise_is_refused_under_drift_alone(queries, profile):
    same, _, _ = count_shard(queries(MIX, n=800, seed=1)["text"], profile=profile, shard="a")
    new, _, _ = count_shard(queries(WITH_NEW, n=800, seed=1)["text"], profile=profile, shard="a")
    assert refusal(same, profile=profile) is None
    assert "unlike all training queries" in refusal(new, profile=profile)
    assert refusal(new, profile=None) is None
    assert refusal(None, profile=profile) is None


def test_a_promise_is_judged_by_the_queries_that_were_calibrated_on(queries, profile):
    def counts(mix, *, n, seed):
        texts = queries(mix, n=n, seed=seed)["text"]
        return count_rows(texts, profile=profile, weight=np.full(n, 0.5))[0]

    for mix in (OTHER, WITH_NEW):
        calibrated = counts(mix, n=600, seed=1)
        alike = [counts(mix, n=800, seed=seed) for seed in range(2, 12)]
        told = [refusal(one, profile=profile, calibrated=calibrated) for one in alike]
        assert told == [None] * 10
        assert all(refusal(one, profile=profile) for one in alike)
    calibrated = counts(OTHER, n=600, seed=1)
    trained = counts(MIX, n=800, seed=2)
    assert refusal(trained, profile=profile) is None
    told = refusal(trained, profile=profile, calibrated=calibrated)
    assert "mix of queries than it was calibrated on" in told
    new = counts(WITH_NEW, n=800, seed=2)
    told = refusal(new, profile=profile, calibrated=counts(MIX, n=600, seed=3))
    assert "unlike all training queries" in told


def test_what_is_counted_shard_by_shard_is_what_the_file_is(queries, profile):
    texts = queries(OTHER, n=5000, seed=3)["text"]
    cuts = [texts[:3000], texts[3000:3100], texts[3100:]]
    parts = [count_shard(part, profile=profile, shard=str(n))[0] for n, part in enumerate(cuts)]
    whole = parts[2] + parts[0] + parts[1]
    every = profile.place(texts)
    truth = np.bincount(every.cluster, minlength=len(profile.shares)) / len(texts)
    assert whole.rows == 5000
    assert sum(whole.clusters) == pytest.approx(5000)
    # A shard of 3,000 rows stands for three times as many a row as one of 100.
    assert 1500 < whole.n < whole.sampled == 2100
    assert np.abs(np.array(whole.clusters) / 5000 - truth).max() < 0.05
    assert DriftCounts.of(json.loads(json.dumps(whole.as_json()))) == whole


def test_a_query_that_repeats_counts_as_often_as_it_stands_there(queries, profile):
    few = queries(MIX, n=300, seed=1)["text"]
    sums = queries({"sums": 1.0}, n=1, seed=2)["text"]
    counts, _, cluster = count_shard(
        pl.concat([few, pl.concat([sums] * 300)]), profile=profile, shard="a"
    )
    assert len(set(cluster[300:])) == 1
    assert counts.shares[cluster[-1]] > 0.5
    # One text that was drawn once says little of where the others would be drawn from.
    assert counts.n == pytest.approx(600**2 / (300**2 + 300))


def in_shards(texts: pl.Series, profile, *, shards: int) -> DriftCounts:
    """Counted in as many shards, the rows shuffled."""
    texts = texts.sample(fraction=1, shuffle=True, seed=1)
    parts = [texts.gather_every(shards, offset=number) for number in range(shards)]
    counts = [
        count_shard(part, profile=profile, shard=str(place))[0] for place, part in enumerate(parts)
    ]
    return sum(counts[1:], counts[0])


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize(("distinct", "copies"), [(200, 4), (10, 80)])
def test_texts_that_repeat_are_drawn_once(queries, profile, distinct, copies, shards):
    found = []
    for seed in range(1, 31):
        texts = pl.concat([queries(MIX, n=distinct, seed=seed)["text"]] * copies)
        found.append(in_shards(texts, profile, shards=shards))
    assert np.mean([one.n for one in found]) == pytest.approx(distinct, rel=0.1)
    assert sum(refusal(one, profile=profile) is not None for one in found) <= 1


def test_texts_of_their_own_in_many_shards_say_what_they_are_worth(queries, profile):
    texts = queries(MIX, n=8000, seed=1)["text"].unique(maintain_order=True)
    whole = in_shards(texts, profile, shards=16)
    assert whole.n == pytest.approx(len(texts), rel=0.25)
    assert whole.closed().n == whole.n


def test_an_empty_shard_counts_nothing(profile):
    counts, rows, _ = count_shard(pl.Series([], dtype=pl.String), profile=profile, shard="a")
    assert counts.rows == counts.sampled == len(rows) == 0
    assert drift(counts, profile=profile) is None
    assert refusal(counts, profile=profile) is None


def test_texts_of_any_kind_are_placed(profile):
    odd = pl.Series(["", "§§§", "早上好", "a" * 100_000, "\x00", "   "])
    found = judged(odd, profile)
    assert found.sampled == 6
    assert np.isfinite(found.psi)


@settings(max_examples=50)
@given(st.integers(0, 100_000), st.text(max_size=5))
def test_rows_are_drawn_once_in_order_and_the_same_again(n, shard):
    rows = sampled_rows(n, shard=shard, most=1000)
    assert len(rows) == min(n, 1000)
    assert (np.diff(rows) > 0).all()
    assert not len(rows) or (rows[0] >= 0 and rows[-1] < n)
    assert (rows == sampled_rows(n, shard=shard, most=1000)).all()
