from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.gain import Gain, GainRouter

PAIR = {"strong": "adder", "weak": "roman"}
META = CheckpointMeta(candidate_ids=("id-adder", "id-roman"))
SUM, NUMERAL = "What is 12 plus 30?", "Write 44 as a Roman numeral, case 3"
ASKED = pl.Series([SUM, NUMERAL, "别的", "", None])


@pytest.fixture
def pair(make_two_tasks):
    """Sums, where `adder` gains .8 on average, and numerals, where it loses .8."""
    outcomes = make_two_tasks(300)
    outcomes.reward[:, 2] = np.nan
    return outcomes


def gains(router, texts, **tags):
    """(n_queries,) what the strong one is expected to be better by."""
    reward = router.predict(texts, **tags).reward
    return reward[:, 0] - reward[:, 1]


def shuffled_words(n, *, texts, seed=0):
    return np.random.default_rng(seed).choice(texts, n).tolist()


def test_a_planted_gain_is_found(pair, make_two_tasks):
    router = Gain(**PAIR, length_weights=(0.0,)).fit(pair, seed=0)
    fresh = make_two_tasks(200, seed=9)
    gain = gains(router, fresh.texts)
    assert gain[fresh.tasks == "sums"].mean() == pytest.approx(0.8, abs=0.15)
    assert gain[fresh.tasks == "numerals"].mean() == pytest.approx(-0.8, abs=0.15)


def test_rewards_are_on_the_level_of_the_pair(pair):
    reward = Gain(**PAIR).fit(pair, seed=0).predict(pair.texts).reward
    assert reward.mean() == pytest.approx(pair.reward[:, :2].mean(), abs=0.02)


def test_ties_are_half_wins_and_not_left_out(make_outcomes):
    reward = np.array([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 2 + [[1.0, 1.0]] * 88)
    texts = shuffled_words(100, texts=[f"apples and pears, {n}" for n in range(40)])
    router = Gain().fit(make_outcomes(texts, ["t"] * 100, reward), seed=0)
    # Among the decided alone the strong one wins 10 of 12.
    assert gains(router, pl.Series(texts)).mean() == pytest.approx(0.08, abs=0.03)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_length_enters_at_the_weight_it_was_given(pair, weight):
    router = Gain(**PAIR, length_weights=(weight,)).fit(pair, seed=0)
    # Blanks are no terms: the two texts differ in their length and in nothing else.
    short, long = "plus a Roman numeral", "plus a Roman numeral" + " " * 60
    gain = gains(router, pl.Series([short, long]))
    logs = np.log1p(pair.texts.str.len_chars().to_numpy())
    away = (np.log1p(len(long)) - np.log1p(len(short))) / logs.std()
    assert router.scale.slope > 0
    assert gain[1] - gain[0] == pytest.approx(weight * router.scale.slope * away)


def test_a_length_that_misleads_is_given_no_weight(make_outcomes):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 60, size=400)
    texts = [" ".join(rng.choice(["pear", "plum", "fig"], n)) for n in lengths]
    shorter_is_harder = (lengths < 15).astype(float)
    reward = np.column_stack([np.ones(400), 1 - shorter_is_harder])
    outcomes = make_outcomes(texts, ["t"] * 400, reward)
    assert Gain().fit(outcomes, seed=0).length_weight == 0.0


def test_a_length_that_tells_is_given_all_the_weight(make_outcomes):
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 60, size=400)
    texts = [" ".join(rng.choice(["pear", "plum", "fig"], n)) for n in lengths]
    longer_is_harder = (np.log(lengths) + rng.normal(0, 0.5, 400) > 3).astype(float)
    reward = np.column_stack([np.ones(400), 1 - longer_is_harder])
    outcomes = make_outcomes(texts, ["t"] * 400, reward)
    assert Gain().fit(outcomes, seed=0).length_weight == 1.0


def test_words_never_seen_leave_the_length(pair):
    router = Gain(**PAIR, length_weights=(1.0,)).fit(pair, seed=0)
    gain = gains(router, pl.Series(["ξένος", "ξένος" * 40]))
    assert np.isfinite(gain).all()
    assert gain[1] > gain[0]


def test_tags_are_a_prior(make_outcomes):
    rng = np.random.default_rng(0)
    texts = shuffled_words(400, texts=[f"apples and pears, {n}" for n in range(90)])
    hard = rng.random(400) < 0.5
    reward = np.column_stack([np.ones(400), ~(hard & (rng.random(400) < 0.8))])
    tasks = np.where(hard, "law", "arithmetic")
    router = Gain().fit(make_outcomes(texts, tasks, reward), seed=0)
    asked = pl.Series(texts[:2] * 3)
    tags = pl.Series([["law"]] * 2 + [["arithmetic"]] * 2 + [["unheard of"]] * 2)
    gain = gains(router, asked, tags=tags).reshape(3, 2).mean(axis=1)
    assert gain[0] - gain[1] > 0.3
    assert gain[1] < gain[2] < gain[0]
    assert gains(router, asked[:2]).mean() == pytest.approx(0.4, abs=0.1)


def test_whole_tasks_are_left_out_where_tasks_are_unseen(make_outcomes):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 12, 480)
    texts = [f"{'abcdefghijkl'[kind] * 5} are apples, {n}" for n, kind in enumerate(kinds)]
    weak = np.where(kinds % 2 == 0, 1.0, 0.0)
    reward = np.column_stack([np.ones(480), weak])
    outcomes = make_outcomes(texts, [f"task {kind}" for kind in kinds], reward)
    asked = outcomes.texts[:50]
    # What a task's words say of its own queries, they say of no other task.
    known = gains(Gain(length_weights=(0.0,)).fit(outcomes, seed=0), asked)
    unseen = Gain(length_weights=(0.0,), unseen="tasks")
    unknown = gains(unseen.fit(outcomes, seed=0), asked)
    assert known.std() > 0.3
    assert unknown.std() < known.std() / 3


def test_labels_without_meaning_are_no_gain(make_two_tasks):
    outcomes = make_two_tasks(300)
    outcomes.reward[:] = np.random.default_rng(0).permutation(outcomes.reward)
    router = Gain(**PAIR).fit(outcomes, seed=0)
    gain = gains(router, make_two_tasks(100, seed=4).texts)
    assert gain.std() < 0.1
    assert gain.mean() == pytest.approx(router.scale.mean, abs=0.1)


def test_missing_cells_are_left_out(pair):
    holes = replace(pair, reward=pair.reward.copy())
    holes.reward[::3, 0] = np.nan
    holes.reward[1::3, 1] = np.nan
    with_holes = Gain(**PAIR).fit(holes, seed=0).predict(ASKED).reward
    kept = pair.take(np.arange(len(pair)) % 3 == 2)
    assert np.array_equal(with_holes, Gain(**PAIR).fit(kept, seed=0).predict(ASKED).reward)


def test_several_encoders_count_alike(pair):
    more = {"lexical": {"dimensions": 8}}
    single, both = Gain(**PAIR), Gain(**PAIR, more_encoders=more)
    assert len(single.fit(pair, seed=0).views) == 1
    router = both.fit(pair, seed=0)
    assert [view.encoder.dimensions <= 8 for view in router.views][1]
    gain = gains(router, pl.Series([SUM, NUMERAL]))
    assert gain[0] > 0.4
    assert gain[1] < -0.4


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_rows(make_outcomes, n):
    texts = ["one apple", "two pears", "three plums"][:n]
    outcomes = make_outcomes(texts, ["t"] * n, [[1.0, 0.0]] * n)
    assert gains(Gain().fit(outcomes, seed=0), outcomes.texts) == pytest.approx(np.ones(n))


def test_equal_rewards_everywhere_are_no_gain(make_outcomes):
    outcomes = make_outcomes([f"text {row}" for row in range(30)], ["t"] * 30, np.ones((30, 2)))
    assert Gain().fit(outcomes, seed=0).predict(outcomes.texts).reward == pytest.approx(
        np.ones((30, 2))
    )


def test_equal_seeds_are_equal_bit_for_bit(pair):
    first, second = (Gain(**PAIR).fit(pair, seed=3).predict(ASKED).reward for _ in range(2))
    assert np.array_equal(first, second)


def test_a_loaded_head_says_the_same_bit_for_bit(root, pair):
    more = {"lexical": {"dimensions": 8}}
    router = Gain(**PAIR, more_encoders=more).fit(pair, seed=0)
    loaded = load_router(root, version=save_checkpoint(router, root, meta=META))
    assert isinstance(loaded, GainRouter)
    assert np.array_equal(loaded.predict(ASKED).reward, router.predict(ASKED).reward)
    tags = pl.Series([["sums"], ["numerals"], [], ["else"], None])
    assert np.array_equal(gains(loaded, ASKED, tags=tags), gains(router, ASKED, tags=tags))
    assert np.array_equal(loaded.completion_tokens, router.completion_tokens)


def test_a_head_for_three_is_no_head_for_a_pair(pair):
    state = Gain(**PAIR).fit(pair, seed=0).state()
    with pytest.raises(InputError, match="two candidates"):
        GainRouter.from_state(state, candidates=("adder", "roman", "both"))


@pytest.mark.parametrize("weights", [(), (-1.0,), (float("nan"),)])
def test_length_weights_out_of_range(weights):
    with pytest.raises(ValidationError):
        Gain(length_weights=weights)
