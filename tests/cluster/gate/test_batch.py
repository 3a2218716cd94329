"""Poison and a candidate that changed, told apart by who disagrees."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.gate.batch import Labels, admit
from cluster.gate.rules import AdmissionRules

NAMES = ("a", "b", "c", "d", "e")


def labels(n, *, seed, skill=0.25, names=NAMES):
    """Three tasks; each candidate is good at some; expectations are right but for noise."""
    rng = np.random.default_rng(seed)
    task = rng.integers(0, 3, n)
    good = np.random.default_rng(9).choice([-1, 0, 1], size=(3, len(names)))
    hard = np.array([-0.15, 0.0, 0.15])[task][:, None]
    chance = np.clip(0.5 + skill * good[task] + hard, 0.05, 0.95)
    reward = (rng.random(chance.shape) < chance).astype(float)
    expected = chance + rng.normal(0, 0.08, chance.shape)
    return Labels(tuple(names), reward, expected)


USUAL = labels(800, seed=0)


def verdict(reward=None, *, n=400, seed=1, usual=USUAL, **more):
    batch = labels(n, seed=seed, names=usual.candidates)
    if reward is not None:
        batch = replace(batch, reward=reward(batch.reward, np.random.default_rng(seed)))
    return admit("night 1", batch=batch, usual=usual, rules=AdmissionRules(), **more)


def column(values):
    """Change candidate c alone."""

    def changed(reward, rng):
        other = reward.copy()
        other[:, 2] = values(reward[:, 2], rng)
        return other

    return changed


def test_honest_labels_are_admitted_on_every_night() -> None:
    found = [verdict(seed=seed) for seed in range(1, 41)]
    assert {one.verdict for one in found} == {"admitted"}
    assert not any(one.changed for one in found)


@pytest.mark.parametrize(
    ("poison", "words"),
    [
        (lambda reward, rng: 1 - reward, "turned round"),
        (lambda reward, rng: rng.permutation(reward.ravel()).reshape(reward.shape), "shuffled"),
        (lambda reward, rng: rng.permuted(reward, axis=0), "shuffled"),
        (lambda reward, rng: np.ones_like(reward), "all 1"),
    ],
    ids=["turned round", "shuffled", "shuffled within candidates", "constant"],
)
def test_poison_is_refused_as_a_whole_and_named(poison, words) -> None:
    found = verdict(poison)
    assert found.verdict == "refused"
    assert found.refused == NAMES
    assert words in found.why


@pytest.mark.parametrize(
    "fall",
    [lambda own, rng: own * (rng.random(len(own)) < 0.4), lambda own, rng: 0 * own],
    ids=["worse at everything", "dead"],
)
def test_a_candidate_that_got_worse_is_believed_and_told_of(fall) -> None:
    found = verdict(column(fall))
    assert found.verdict == "admitted"
    assert [one.candidate for one in found.changed] == ["c"]
    assert found.changed[0].high < 0
    assert "'c' answers worse" in found.why


def test_two_that_got_worse_on_one_day_are_believed() -> None:
    def fall(reward, rng):
        worse = reward.copy()
        worse[:, :2] *= rng.random((len(reward), 2)) < 0.4
        return worse

    found = verdict(fall)
    assert found.verdict == "admitted"
    assert {one.candidate for one in found.changed} == {"a", "b"}


@pytest.mark.parametrize(
    "wrong",
    [lambda own, rng: np.ones_like(own), lambda own, rng: rng.permutation(own)],
    ids=["always right", "shuffled"],
)
def test_one_candidates_labels_that_fit_nothing_are_refused_alone(wrong) -> None:
    usual = labels(800, seed=0, skill=0.35)
    batch = labels(800, seed=1, skill=0.35)
    reward = batch.reward.copy()
    reward[:, 3] = wrong(reward[:, 3], np.random.default_rng(0))
    found = admit("b", batch=replace(batch, reward=reward), usual=usual, rules=AdmissionRules())
    assert found.verdict == "partly refused"
    assert found.refused == ("d",)


def test_candidates_taken_for_one_another_are_refused() -> None:
    usual, batch = labels(800, seed=0), labels(800, seed=1)
    level = np.linspace(-0.3, 0.3, 5)
    usual, batch = (
        replace(
            one,
            reward=(np.random.default_rng(3).random(one.reward.shape) < 0.5 + level).astype(float),
            expected=np.clip(one.expected * 0.2 + 0.4 + level, 0, 1),
        )
        for one in (usual, batch)
    )
    swapped = replace(batch, reward=batch.reward[:, ::-1])
    found = admit("b", batch=swapped, usual=usual, rules=AdmissionRules())
    assert found.verdict == "refused"
    assert "over levels" in found.why


def test_a_few_labels_are_admitted_and_said_to_be_few() -> None:
    found = verdict(lambda reward, rng: 1 - reward, n=10)
    assert found.verdict == "too few to tell"
    assert not found.refused


def test_a_candidate_nobody_expects_anything_of_is_admitted_with_the_batch() -> None:
    unknown = replace(USUAL, expected=np.where(np.arange(5) == 4, np.nan, USUAL.expected))
    found = verdict(usual=unknown)
    assert found.verdict == "admitted"
    assert not found.refused


def test_more_batches_a_night_make_each_refusal_surer() -> None:
    def half(reward, rng):
        return np.where(rng.random((len(reward), 1)) < 0.5, 1 - reward, reward)

    one, many = verdict(half, n=150), verdict(half, n=150, batches=100_000_000)
    assert one.verdict == "refused"
    assert many.verdict != "refused"
