"""A newcomer in a stack: every part takes it up, or the part that cannot is named."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.errors import InputError
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.newcomer import with_candidate
from cluster.routers.random import Random
from cluster.routers.stack import Stack, StackPart, StackRouter

STACK = Stack(
    parts=(
        StackPart(method="predicted_task"),
        StackPart(method="cluster_table", settings={"n_clusters": (4, 8), "bags": 1}),
        StackPart(method="knn"),
    )
)


@pytest.fixture(scope="module")
def base(setting, without):
    return STACK.fit(without(setting[0], "poet"), seed=0)


@pytest.fixture(scope="module")
def router(setting, base):
    return with_candidate(base, "poet", probe=setting[1])


def test_the_others_are_expected_as_before(setting, base, router):
    found, before = (each.predict(setting[2].texts) for each in (router, base))
    assert router.candidates == (*base.candidates, "poet")
    assert np.array_equal(found.reward[:, :3], before.reward)
    assert np.array_equal(found.completion_tokens[:, :3], before.completion_tokens)


def test_a_specialist_is_chosen_for_its_task_and_nowhere_else(setting, router):
    test = setting[2]
    chosen = router.predict(test.texts).reward.argmax(axis=1) == 3
    assert chosen[test.tasks == "poems"].mean() > 0.9
    assert chosen[test.tasks != "poems"].mean() < 0.1


def test_the_encoder_stays_shared(router):
    assert router.parts
    assert all(part.encoder is router.encoder for part in router.parts)


def test_it_is_stored_and_read_as_any_router(setting, router, tmp_path):
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(router, uri, meta=CheckpointMeta(candidate_ids=router.candidates))
    read = load_router(uri)
    assert read.weights.n_later == 1
    before = router.predict(setting[2].texts).reward
    assert np.array_equal(read.predict(setting[2].texts).reward, before)


@pytest.mark.parametrize("later", [-1, 4, "1"])
def test_a_damaged_number_of_newcomers_is_told(router, later):
    state = router.state()
    damaged = replace(state, config=state.config | {"n_later": later})
    with pytest.raises(InputError, match="damaged checkpoint"):
        StackRouter.from_state(damaged, candidates=router.candidates)


def test_missing_rewards_and_tokens_are_masked(setting, base):
    probe = setting[1]
    reward = probe.reward.copy()
    reward[::4, 3] = np.nan
    reward[1::4, 0] = np.nan
    holes = replace(probe, reward=reward, completion_tokens=np.full_like(reward, np.nan))
    found = with_candidate(base, "poet", probe=holes).predict(setting[2].texts)
    assert np.isfinite(found.reward).all()
    assert np.isnan(found.completion_tokens[:, 3]).all()


def test_of_no_parts_the_means_are_left(setting, base):
    none = replace(base.weights, common=np.zeros(0), own=np.zeros(0))
    single = StackRouter(base.candidates, encoder=None, parts=(), weights=none, means=base.means)
    found = with_candidate(single, "poet", probe=setting[1]).predict(setting[2].texts)
    assert found.reward[0, 3] == pytest.approx(0.5, abs=0.1)


def test_the_part_that_cannot_is_named(setting, base, without):
    parts = (*base.parts, Random().fit(without(setting[0], "poet"), seed=0))
    ones = np.ones(len(parts))
    router = StackRouter(
        base.candidates,
        encoder=base.encoder,
        parts=parts,
        weights=replace(base.weights, common=ones, own=ones),
        means=base.means,
    )
    with pytest.raises(InputError, match="stack, part 'random': method random cannot take up"):
        with_candidate(router, "poet", probe=setting[1])
