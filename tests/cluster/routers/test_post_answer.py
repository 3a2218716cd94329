from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.gain import Gain
from cluster.routers.post_answer import PostAnswer, PostAnswerRouter

META = CheckpointMeta(candidate_ids=("id-adder", "id-roman"))
SURE, UNSURE = "It is 7.", "I cannot tell, perhaps it is 7."
ASKED = pl.Series(["how many apples are 3", "别的", "", None])
REPLIES = pl.Series([SURE, UNSURE, "", None])


def answered(make_outcomes, n=300, seed=0):
    """Questions that tell nothing; the weak one is wrong where it says that it cannot tell."""
    rng = np.random.default_rng(seed)
    unsure = rng.random(n) < 0.4
    texts = [f"how many apples are {number}" for number in rng.integers(1, 99, n)]
    reward = np.column_stack([np.ones(n), np.where(unsure, 0.0, 1.0)])
    outcomes = make_outcomes(texts, ["t"] * n, reward, np.tile([30.0, 9.0], (n, 1)))
    answers = {"adder": ["7"] * n, "roman": np.where(unsure, UNSURE, SURE).tolist()}
    return replace(outcomes, answers=pl.DataFrame(answers))


def test_the_answer_tells_what_the_query_does_not(make_outcomes):
    router = PostAnswer().fit(answered(make_outcomes), seed=0)
    texts = pl.Series(["how many apples are 5"] * 2)
    before = router.predict(texts).reward
    after = router.predict_after(texts, pl.Series([SURE, UNSURE])).reward
    assert before[:, 0] - before[:, 1] == pytest.approx([0.4, 0.4], abs=0.15)
    assert after[:, 0] - after[:, 1] == pytest.approx([0.0, 1.0], abs=0.1)
    assert after[:, 1] == pytest.approx([1.0, 0.0], abs=0.1)


def test_numbers_of_the_answer_are_read(make_outcomes):
    outcomes = answered(make_outcomes)
    wrong = outcomes.reward[:, 1] == 0
    replies = np.where(wrong, "that makes 7.50", "that makes 75").tolist()
    outcomes = replace(outcomes, answers=outcomes.answers.with_columns(roman=pl.Series(replies)))
    router = PostAnswer().fit(outcomes, seed=0)
    found = router.predict_after(outcomes.texts[:2], pl.Series(["it is 12", "it is 3.25"])).reward
    assert np.diff(found[:, 0] - found[:, 1])[0] > 0.3


def test_it_reads_the_weak_candidate(make_outcomes):
    outcomes = answered(make_outcomes)
    assert PostAnswer().fit(outcomes, seed=0).reads_answer_of == "roman"
    turned = PostAnswer(strong="roman", weak="adder").fit(outcomes, seed=0)
    assert turned.reads_answer_of == "adder"
    assert turned.candidates == ("roman", "adder")


def test_before_the_answer_it_is_the_gain_head(make_outcomes):
    outcomes = answered(make_outcomes)
    alone = Gain(unseen="tasks").fit(outcomes, seed=0).predict(ASKED)
    router = PostAnswer(unseen="tasks").fit(outcomes, seed=0)
    assert np.array_equal(router.predict(ASKED).reward, alone.reward)


def test_a_missing_answer_leaves_the_query(make_outcomes):
    router = PostAnswer().fit(answered(make_outcomes), seed=0)
    texts = pl.Series(["how many apples are 5", "how many pears are 70", "how many"])
    after = router.predict_after(texts, pl.Series([UNSURE, None, None]))
    assert np.array_equal(after.reward[1:], router.predict(texts[1:]).reward)
    assert after.completion_tokens.tolist() == [[30.0, 9.0]] * 3


def test_unanswered_rows_and_missing_rewards_are_left_out(make_outcomes):
    outcomes = answered(make_outcomes)
    replies = outcomes.answers["roman"].to_list()
    replies[:50] = [None] * 50
    outcomes = replace(outcomes, answers=outcomes.answers.with_columns(roman=pl.Series(replies)))
    outcomes.reward[100:150, 0] = np.nan
    router = PostAnswer().fit(outcomes, seed=0)
    after = router.predict_after(outcomes.texts[:2], pl.Series([SURE, UNSURE])).reward
    assert after[:, 0] - after[:, 1] == pytest.approx([0.0, 1.0], abs=0.15)


@pytest.mark.parametrize("known", ["none at all", "the strong one's alone"])
def test_without_answers_it_says_what_to_do(make_outcomes, known):
    outcomes = answered(make_outcomes)
    answers = outcomes.answers.with_columns(roman=pl.lit(None, dtype=pl.String))
    outcomes = replace(outcomes, answers=None if known == "none at all" else answers)
    with pytest.raises(InputError, match=r"reads the answers of 'roman'.*collect its answers"):
        PostAnswer().fit(outcomes, seed=0)


def test_it_says_that_it_needs_answers():
    assert PostAnswer.needs_answers
    assert not Gain.needs_answers


def test_equal_seeds_are_equal_bit_for_bit(make_outcomes):
    outcomes = answered(make_outcomes)
    first, second = (
        PostAnswer().fit(outcomes, seed=2).predict_after(ASKED, REPLIES).reward for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_a_loaded_head_says_the_same_bit_for_bit(root, make_outcomes):
    method = PostAnswer(answer_encoder_settings={"dimensions": 8})
    router = method.fit(answered(make_outcomes), seed=0)
    loaded = load_router(root, version=save_checkpoint(router, root, meta=META))
    assert isinstance(loaded, PostAnswerRouter)
    assert loaded.reads_answer_of == "roman"
    for ask in (lambda r: r.predict(ASKED), lambda r: r.predict_after(ASKED, REPLIES)):
        assert np.array_equal(ask(loaded).reward, ask(router).reward)
        assert np.isfinite(ask(loaded).reward).all()
