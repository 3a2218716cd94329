"""A newcomer among the vectors of a trained network; each method is trained once, on three others.

The others are expected as before up to the last bits: one more column changes the order in which a
product of matrices is added up.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.mf import MatrixFactorisation
from cluster.routers.multihead import Multihead
from cluster.routers.newcomer import with_candidate
from cluster.routers.newcomer.vectors import place_candidate
from cluster.routers.routerdc import RouterDC
from cluster.routers.zooter import Zooter

TASKS = ("sums", "capitals", "poems")
POET = (0.3, 0.3, 0.9)  # as in conftest
QUICK = {"epochs": 30, "learning_rate": 0.01, "hidden": 16, "dropout": 0.0}
NETWORKS = [
    Multihead(**QUICK, rank=4),
    # Without the groups of queries, whose layout takes longer than all the rest.
    RouterDC(**QUICK, sample_weight=0.0),
    MatrixFactorisation(**QUICK),
    Zooter(),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda method: method.name)
def base(request, setting, without):
    return request.param.fit(without(setting[0], "poet"), seed=0)


def rewarded(probe, reward):
    """The probe with other rewards of the newcomer."""
    changed = probe.reward.copy()
    changed[:, -1] = reward
    return replace(probe, reward=changed)


def share_of_newcomer(router, test):
    return (router.predict(test.texts).reward.argmax(axis=1) == len(router.candidates) - 1).mean()


def test_the_others_are_expected_as_before(setting, base):
    _, probe, test = setting
    router = with_candidate(base, "poet", probe=probe)
    assert router.candidates == (*base.candidates, "poet")
    found, before = router.predict(test.texts), base.predict(test.texts)
    assert found.reward[:, :3] == pytest.approx(before.reward, abs=1e-6)
    assert np.array_equal(found.completion_tokens[:, :3], before.completion_tokens)
    assert found.completion_tokens[:, 3] == pytest.approx(80, rel=0.25)


def test_a_specialist_is_chosen_for_its_task(setting, base):
    _, probe, test = setting
    router = with_candidate(base, "poet", probe=probe)
    chosen = router.predict(test.texts).reward.argmax(axis=1) == 3
    assert chosen[test.tasks == "poems"].mean() > 0.9
    assert chosen[test.tasks != "poems"].mean() < 0.1


def test_its_reward_is_expected_in_the_others_unit(setting, base):
    _, probe, test = setting
    reward = with_candidate(base, "poet", probe=probe).predict(test.texts).reward
    told = np.abs(reward.mean(axis=0) - test.reward.mean(axis=0))
    # One line for all candidates is off by as much for those that were trained.
    assert told[3] < 0.15 + told[:3].max()


@pytest.mark.parametrize(("reward", "least", "most"), [(1.0, 0.97, 1.0), (0.0, 0.0, 0.0)])
def test_who_is_always_right_gets_all_and_who_never_is_nothing(setting, base, reward, least, most):
    router = with_candidate(base, "poet", probe=rewarded(setting[1], reward))
    assert least <= share_of_newcomer(router, setting[2]) <= most


def test_it_is_stored_and_read_as_any_router(setting, base, tmp_path):
    router = with_candidate(base, "poet", probe=setting[1])
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(router, uri, meta=CheckpointMeta(candidate_ids=router.candidates))
    read = load_router(uri).predict(setting[2].texts)
    assert np.array_equal(read.reward, router.predict(setting[2].texts).reward)


def test_what_is_not_known_of_others_is_no_harm(setting, base):
    _, probe, test = setting
    reward = probe.reward.copy()
    reward[::4, 3] = np.nan
    reward[1::4, 0] = np.nan
    reward[2::8, :3] = np.nan
    unknown = np.full_like(reward, np.nan)
    holes = replace(probe, reward=reward, completion_tokens=unknown)
    found = with_candidate(base, "poet", probe=holes).predict(test.texts)
    whole = with_candidate(base, "poet", probe=probe).predict(test.texts)
    assert np.abs(found.reward[:, 3] - whole.reward[:, 3]).mean() < 0.12
    assert np.isnan(found.completion_tokens[:, 3]).all()


def test_another_may_be_unknown_altogether(setting, base, without):
    _, probe, test = setting
    router = with_candidate(base, "poet", probe=without(probe, "steady"))
    assert router.candidates == (*base.candidates, "poet")
    chosen = router.predict(test.texts).reward.argmax(axis=1) == 3
    assert chosen[test.tasks == "poems"].mean() > 0.9


@pytest.mark.parametrize("reward", [0.0, 0.5, 1.0])
def test_one_probe_moves_it_little(setting, base, reward):
    _, probe, test = setting
    single = rewarded(probe.take(np.array([7])), reward)
    found = with_candidate(base, "poet", probe=single).predict(test.texts).reward
    assert np.isfinite(found).all()
    others = found[:, :3].mean(axis=1)
    assert np.abs(found[:, 3] - others).mean() < 0.35


def test_where_all_are_equal_it_is_like_the_others(setting, base):
    _, probe, test = setting
    equal = replace(probe, reward=np.full_like(probe.reward, 1.0))
    found = with_candidate(base, "poet", probe=equal).predict(test.texts).reward
    assert np.isfinite(found).all()


def test_probes_without_any_other_reward(setting, base):
    _, probe, test = setting
    reward = np.full_like(probe.reward, np.nan)
    reward[:, 3] = probe.reward[:, 3]
    found = with_candidate(base, "poet", probe=replace(probe, reward=reward)).predict(test.texts)
    assert np.isfinite(found.reward).all()


def test_a_task_counts_for_its_probes_however_many_queries_they_stand_for(setting, base):
    """A hundred times as many queries of one task: the others' probes are heard as before."""
    _, probe, test = setting
    many = np.where(probe.tasks == "sums", 0.01, 1.0)
    drawn = probe.queries["sampling_probability"].to_numpy() * many
    more = probe.queries.with_columns(sampling_probability=drawn)
    found, before = (
        with_candidate(base, "poet", probe=each).predict(test.texts).reward
        for each in (replace(probe, queries=more), probe)
    )
    assert np.abs(found - before).max() < 0.02


@pytest.mark.parametrize("method", NETWORKS[1:3], ids=lambda method: method.name)
def test_comparisons_are_made_of_rewards_from_0_to_1(setting, without, method):
    router = method.model_copy(update={"epochs": 1}).fit(without(setting[0], "poet"), seed=0)
    probe = rewarded(setting[1], 3.0 * setting[1].reward[:, -1])
    with pytest.raises(InputError, match="candidate 'poet': rewards from 0 to 3, expected 0 to 1"):
        with_candidate(router, "poet", probe=probe)


def test_zooter_takes_rewards_of_any_range(setting, without):
    wide = replace(setting[1], reward=30.0 * setting[1].reward - 20.0)
    train = replace(setting[0], reward=30.0 * setting[0].reward - 20.0)
    router = with_candidate(NETWORKS[3].fit(without(train, "poet"), seed=0), "poet", probe=wide)
    chosen = router.predict(setting[2].texts).reward.argmax(axis=1) == 3
    assert chosen[setting[2].tasks == "poems"].mean() > 0.9


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
def test_a_placed_vector_loses_less_than_the_mean(seed, n, dimensions):
    rng = np.random.default_rng(seed)
    queries, others = rng.standard_normal((n, dimensions)), rng.standard_normal((3, dimensions))
    share, offset, weight = rng.random(n), 3 * rng.standard_normal(n), rng.random(n) + 0.1
    mean = others.mean(axis=0)

    def loss(vector):
        logit = queries @ vector - offset
        entropy = np.logaddexp(0, logit) - share * logit
        return weight @ entropy / weight.mean() + np.sum((vector - mean) ** 2)

    settings = {"weight": weight, "others": others, "offset": offset, "penalty": 2.0}
    placed = place_candidate(queries, share, **settings)
    assert loss(placed) <= loss(mean) + 1e-9


def test_another_newcomer_joins_after_the_first(setting, base):
    _, probe, test = setting
    first = with_candidate(base, "poet", probe=probe)
    columns = [*range(4), 3]
    names = (*probe.candidates, "twin")
    fields = ("reward", "prompt_tokens", "completion_tokens", "cost_usd", "n_samples", "truncated")
    cells = {field: getattr(probe, field)[:, columns] for field in fields}
    again = replace(probe, candidates=names, candidate_ids=names, **cells)
    second = with_candidate(first, "twin", probe=again)
    found, before = second.predict(test.texts).reward, first.predict(test.texts).reward
    assert found[:, :4] == pytest.approx(before, abs=1e-6)
    assert np.abs(found[:, 4] - found[:, 3]).mean() < 0.1


@pytest.fixture(scope="module")
def multihead(setting, without):
    quick = {"epochs": 30, "learning_rate": 0.01, "hidden": 16, "dropout": 0.0, "rank": 4}
    return Multihead(**quick).fit(without(setting[0], "poet"), seed=0)


def test_a_candidates_vector_is_placed_among_trained_ones(setting, multihead):
    _, probe, test = setting
    router = with_candidate(multihead, "poet", probe=probe)
    found, before = router.predict(test.texts), multihead.predict(test.texts)
    assert found.reward[:, :3] == pytest.approx(before.reward, abs=1e-6)
    poet = {task: found.reward[test.tasks == task, 3].mean() for task in TASKS}
    assert poet == pytest.approx(dict(zip(TASKS, POET, strict=True)), abs=0.25)
    chosen = found.reward.argmax(axis=1) == 3
    assert chosen[test.tasks == "poems"].mean() > 0.9
    assert chosen[test.tasks != "poems"].mean() < 0.1


def test_a_vector_takes_rewards_from_0_to_1_only(setting, multihead):
    probe = replace(setting[1], reward=3.0 * setting[1].reward)
    with pytest.raises(InputError, match="candidate 'poet': rewards from 0 to 3, expected 0 to 1"):
        with_candidate(multihead, "poet", probe=probe)


def test_a_vector_without_anything_seen_stays_at_the_mean_of_the_others():
    others = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    nothing = place_candidate(
        np.zeros((1, 3)), np.array([1.0]), weight=np.array([1.0]), others=others
    )
    assert nothing == pytest.approx(others.mean(axis=0))


def test_a_placed_vector_is_where_the_loss_has_no_slope():
    rng = np.random.default_rng(0)
    queries, reward = rng.standard_normal((40, 3)), rng.random(40)
    weight, others = rng.random(40) + 0.5, rng.standard_normal((5, 3))
    vector = place_candidate(queries, reward, weight=weight, others=others)
    error = 1 / (1 + np.exp(-queries @ vector)) - reward
    slope = queries.T @ (weight / weight.mean() * error) + vector - others.mean(axis=0)
    assert slope == pytest.approx(np.zeros(3), abs=1e-3)
