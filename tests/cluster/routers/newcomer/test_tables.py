"""A newcomer that follows the others' level, and one that is a specialist."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.routers.best_single import BestSingle
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.cluster_table import ClusterTable
from cluster.routers.knn import Knn
from cluster.routers.lora_retriever import LoraRetriever
from cluster.routers.newcomer import with_candidate
from cluster.routers.predicted_task import PredictedTask
from cluster.routers.ridge import Ridge
from cluster.routers.router import Method

KNOWN = ("steady", "sums", "capitals")
TASKS = ("sums", "capitals", "poems")
METHODS = [
    Knn(),
    ClusterTable(),
    PredictedTask(),
    Ridge(),
    LoraRetriever(n_clusters=3),
    BestSingle(),
]
SPECIALISTS = METHODS[:-1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_it_expects_is_near_a_fit_on_all_outcomes(setting, without, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    added = with_candidate(base, "poet", probe=probe).predict(test.texts)
    full = method.fit(train, seed=0).predict(test.texts)
    # 33 probes a task: a standard error of 0.08, and a quarter of what they say is not believed.
    assert np.abs(added.reward[:, -1] - full.reward[:, -1]).mean() < 0.13
    assert added.completion_tokens[:, -1] == pytest.approx(full.completion_tokens[:, -1], rel=0.25)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_others_are_expected_as_before(setting, without, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    assert router.candidates == (*KNOWN, "poet")
    before, after = base.predict(test.texts), router.predict(test.texts)
    assert np.array_equal(after.reward[:, :3], before.reward)
    assert np.array_equal(after.completion_tokens[:, :3], before.completion_tokens)


@pytest.mark.parametrize("method", SPECIALISTS, ids=lambda method: method.name)
def test_a_specialist_is_chosen_for_its_task_and_nowhere_else(setting, without, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    chosen = np.array(router.candidates)[router.predict(test.texts).reward.argmax(axis=1)]
    share = {task: (chosen[test.tasks == task] == "poet").mean() for task in TASKS}
    assert share["poems"] > 0.95
    assert share["sums"] < 0.05 > share["capitals"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_it_is_stored_and_read_as_any_router(setting, tmp_path, without, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(router, uri, meta=CheckpointMeta(candidate_ids=router.candidates))
    read = load_router(uri).predict(test.texts)
    assert np.array_equal(read.reward, router.predict(test.texts).reward)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_missing_cells_and_unknown_tokens_are_masked(setting, without, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    reward = probe.reward.copy()
    reward[::4, 3] = np.nan  # the newcomer has errors
    reward[1::4, 0] = np.nan  # and somebody else has
    reward[2::4, :3] = np.nan
    nothing = np.full_like(reward, np.nan)
    holes = replace(probe, reward=reward, completion_tokens=nothing)
    found = with_candidate(base, "poet", probe=holes).predict(test.texts)
    whole = with_candidate(base, "poet", probe=probe).predict(test.texts)
    assert np.isfinite(found.reward).all()
    assert np.abs(found.reward[:, -1] - whole.reward[:, -1]).mean() < 0.12
    assert np.isnan(found.completion_tokens[:, -1]).all()
    assert np.array_equal(found.completion_tokens[:, :3], whole.completion_tokens[:, :3])


@pytest.mark.parametrize("method", SPECIALISTS, ids=lambda method: method.name)
def test_a_task_without_a_probe_has_the_others_level_and_the_newcomers_mean(
    outcomes_of, without, method: Method
):
    train = outcomes_of(900)
    base = method.fit(without(train, "poet"), seed=0)
    sums = train.take(np.flatnonzero(train.tasks == "sums")[:60])
    expected = with_candidate(base, "poet", probe=sums).predict(train.texts).reward[:, -1]
    assert np.isfinite(expected).all()
    assert expected.mean() == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize("method", [Knn(), ClusterTable(), Ridge()], ids=lambda m: m.name)
def test_hard_queries_are_hard_for_the_newcomer_too(outcomes_of, without, probe_of, method: Method):
    train = outcomes_of(1500, hard=0.2)
    knn = Knn().fit(without(train, "poet"), seed=0)
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe_of(train, knn.vectors, size=150))
    words = ["rhyme about flower 345 plain simple easy", "rhyme about flower 345 tricky puzzling"]
    easy, hard = router.predict(pl.Series(words)).reward[:, -1]
    assert easy > hard + 0.02
