from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.routers.bert import Bert, BertRouter

TEXTS = pl.Series(["What is 3 plus 4?", "Write 5 as a Roman numeral, case 2"])


def pair_of(outcomes):
    """`adder` and `roman`, where each solves a task of its own and sums are the rarer one."""
    from cluster.routers.strong_weak import on_candidates

    return on_candidates(outcomes, [0, 1])


@pytest.fixture
def sides(make_two_tasks):
    return pair_of(make_two_tasks(240)), pair_of(make_two_tasks(60, seed=1))


def trained(sides, **settings):
    quick = {"epochs": 4, "precision": "fp32", "hidden": 16, "learning_rate": 1e-2} | settings
    return Bert(**quick).train(sides[0], validation=sides[1], seed=0).router


def test_the_difference_of_rewards_follows_who_wins(sides, make_two_tasks):
    """Each solves .9 of its own task and .1 of the other's."""
    router = trained(sides, strong="adder", weak="roman")
    assert router.candidates == ("adder", "roman")
    fresh = make_two_tasks(40, seed=2)
    reward = router.predict(fresh.texts).reward
    gain, sums = reward[:, 0] - reward[:, 1], fresh.tasks == "sums"
    assert gain[sums].mean() == pytest.approx(0.8, abs=0.1)
    assert gain[~sums].mean() == pytest.approx(-0.8, abs=0.1)
    assert reward.mean() == pytest.approx(sides[0].reward.mean(), abs=0.1)


def test_the_pair_may_be_named_the_other_way_round(sides):
    router = trained(sides, strong="roman", weak="adder")
    assert router.candidates == ("roman", "adder")
    reward = router.predict(TEXTS).reward
    assert reward[0, 0] < reward[0, 1]
    assert reward[1, 0] > reward[1, 1]


def test_of_two_the_better_on_train_is_the_strong_one(sides, make_outcomes):
    texts = [f"What is {n} plus {n}?" for n in range(8)]
    worse_first = make_outcomes(texts, ["t"] * 8, [[0.0, 1.0]] * 6 + [[1.0, 0.0]] * 2)
    router = Bert(epochs=1).train(worse_first, validation=worse_first, seed=0).router
    assert router.candidates == ("roman", "adder")


def test_of_more_than_two_the_pair_must_be_named(make_two_tasks):
    outcomes = make_two_tasks(60)
    with pytest.raises(InputError, match="name the settings 'strong' and 'weak'"):
        Bert().fit(outcomes, seed=0)
    router = Bert(strong="both", weak="roman", epochs=1).fit(outcomes, seed=0)
    assert router.candidates == ("both", "roman")


def test_ties_are_half_wins(make_outcomes):
    """Three ties and one win: the strong one is expected to gain a quarter, not all."""
    texts = [f"What is {n} plus {n}?" for n in range(100)]
    rewards = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]] * 25
    outcomes = make_outcomes(texts, ["t"] * 100, rewards)
    router = Bert(epochs=10).train(outcomes, validation=outcomes, seed=0).router
    predicted = router.predict(outcomes.texts).reward
    assert (predicted[:, 0] - predicted[:, 1]).mean() == pytest.approx(0.25, abs=0.08)


def test_rows_that_lack_a_reward_are_left_out(sides):
    train, validation = sides
    holes = np.where(np.arange(len(train))[:, None] % 3 == [0, 1], np.nan, train.reward)
    kept = np.arange(len(train)) % 3 == 2
    some = trained((replace(train, reward=holes), validation), strong="adder", weak="roman")
    alone = trained((train.take(kept), validation), strong="adder", weak="roman")
    np.testing.assert_array_equal(some.predict(TEXTS).reward, alone.predict(TEXTS).reward)
    gone = replace(validation, reward=np.where([True, False], np.nan, validation.reward))
    with pytest.raises(InputError, match="no validation query has a reward of both"):
        trained((train, gone), strong="adder", weak="roman")


def test_rewards_that_are_far_apart_are_refused(make_outcomes):
    outcomes = make_outcomes(["a", "b"], ["t"] * 2, [[5.0, 0.0], [0.0, 1.0]])
    with pytest.raises(InputError, match="differ by 5"):
        Bert().train(outcomes, validation=outcomes, seed=0)


def test_a_pretrained_encoder_is_tuned_by_its_first_token(sides, pretrained):
    encoder = {"model": pretrained("bert"), "precision": "fp32"}
    given = {"encoder": "huggingface", "encoder_settings": encoder}
    router = trained(sides, strong="adder", weak="roman", tuned_learning_rate=1e-3, **given)
    frozen = trained(sides, strong="adder", weak="roman", tune=False, epochs=1, **given)
    assert router.encoder.settings.pooling == "cls"
    assert frozen.encoder.bare.settings.pooling == "mean"
    before, after = frozen.encoder.bare.model, router.encoder.model
    moved = [
        float((new - old).abs().max())
        for new, old in zip(after.parameters(), before.parameters(), strict=True)
    ]
    assert max(moved) > 1e-3
    reward = router.predict(TEXTS).reward
    assert reward[0, 0] > reward[0, 1]
    assert reward[1, 0] < reward[1, 1]
    loaded = BertRouter.from_state(router.state(), candidates=router.candidates)
    np.testing.assert_array_equal(loaded.predict(TEXTS).reward, reward)
