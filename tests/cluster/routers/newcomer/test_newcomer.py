"""A newcomer that follows the others' level, and one that is a specialist."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.probe import choose_probe
from cluster.outcome import OutcomeMatrix
from cluster.routers.best_single import BestSingle
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.cluster_table import ClusterTable
from cluster.routers.knn import Knn
from cluster.routers.multihead import Multihead
from cluster.routers.newcomer import with_candidate
from cluster.routers.newcomer.vectors import place_candidate
from cluster.routers.predicted_task import PredictedTask
from cluster.routers.ridge import Ridge
from cluster.routers.router import Method, Router

KNOWN = ("steady", "sums", "capitals")
TASKS = ("sums", "capitals", "poems")
# Chance of a right answer by task; the newcomer is a poet.
CHANCE = {
    "steady": (0.5, 0.5, 0.5),
    "sums": (0.8, 0.2, 0.2),
    "capitals": (0.2, 0.8, 0.3),
    "poet": (0.3, 0.3, 0.9),
}
METHODS = [Knn(), ClusterTable(), PredictedTask(), Ridge(), BestSingle()]
SPECIALISTS = METHODS[:-1]


def outcomes_of(n, seed=0, candidates=(*KNOWN, "poet"), hard=0.0):
    """`hard`: how much less anybody is right about the half of the queries that is hard."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(100, 999, size=n)
    task = np.arange(n) % 3
    is_hard = rng.random(n) < 0.5
    word = np.where(is_hard, "tricky puzzling riddle", "plain simple easy")
    texts = [
        (f"add {x} and {x} {w}", f"capital city of land {x} {w}", f"rhyme about flower {x} {w}")[t]
        for t, x, w in zip(task, numbers, word, strict=True)
    ]
    chance = np.column_stack([np.take(CHANCE[name], task) for name in candidates])
    luck = rng.random((n, len(CHANCE)))[:, : len(candidates)]
    reward = (luck < chance - hard * is_hard[:, None]).astype(float)
    tokens = np.outer(10.0 * (task + 1), np.arange(1, len(candidates) + 1))
    queries = pl.DataFrame(
        {
            "query_id": [f"{seed}-{row}" for row in range(n)],
            "dataset": ["made-up"] * n,
            "task": np.take(TASKS, task),
            "split": ["train"] * n,
            "text": texts,
            "sampling_probability": [1.0] * n,
        }
    )
    unknown = np.full(reward.shape, np.nan)
    cells = (reward, unknown, tokens, unknown, np.ones_like(reward), np.zeros_like(reward))
    return OutcomeMatrix(queries, candidates, candidates, *cells)


def without(outcomes, name):
    keep = [place for place, each in enumerate(outcomes.candidates) if each != name]
    names = tuple(outcomes.candidates[place] for place in keep)
    fields = ("reward", "prompt_tokens", "completion_tokens", "cost_usd", "n_samples", "truncated")
    cut = {field: getattr(outcomes, field)[:, keep] for field in fields}
    return replace(outcomes, candidates=names, candidate_ids=names, **cut)


def probe_of(outcomes, vectors, *, size):
    """The chosen queries, with the newcomer's outcomes on them."""
    chosen = choose_probe(without(outcomes, "poet"), vectors=vectors, size=size, seed=0)
    place = {key: row for row, key in enumerate(outcomes.queries["query_id"])}
    rows = np.array([place[key] for key in chosen.queries["query_id"]])
    return replace(outcomes.take(rows), queries=chosen.queries)


@pytest.fixture(scope="module")
def setting():
    """Outcomes to fit on, and a probe of 100 of them with the newcomer's rewards."""
    train = outcomes_of(900)
    knn = Knn().fit(without(train, "poet"), seed=0)
    return train, probe_of(train, knn.vectors, size=100), outcomes_of(300, seed=9)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_it_expects_is_near_a_fit_on_all_outcomes(setting, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    added = with_candidate(base, "poet", probe=probe).predict(test.texts)
    full = method.fit(train, seed=0).predict(test.texts)
    # 33 probes a task: a standard error of 0.08, and a quarter of what they say is not believed.
    assert np.abs(added.reward[:, -1] - full.reward[:, -1]).mean() < 0.13
    assert added.completion_tokens[:, -1] == pytest.approx(full.completion_tokens[:, -1], rel=0.25)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_others_are_expected_as_before(setting, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    assert router.candidates == (*KNOWN, "poet")
    before, after = base.predict(test.texts), router.predict(test.texts)
    assert np.array_equal(after.reward[:, :3], before.reward)
    assert np.array_equal(after.completion_tokens[:, :3], before.completion_tokens)


@pytest.mark.parametrize("method", SPECIALISTS, ids=lambda method: method.name)
def test_a_specialist_is_chosen_for_its_task_and_nowhere_else(setting, method: Method):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    chosen = np.array(router.candidates)[router.predict(test.texts).reward.argmax(axis=1)]
    share = {task: (chosen[test.tasks == task] == "poet").mean() for task in TASKS}
    assert share["poems"] > 0.95
    assert share["sums"] < 0.05 > share["capitals"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_it_is_stored_and_read_as_any_router(setting, method: Method, tmp_path):
    train, probe, test = setting
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe)
    uri = str(tmp_path / "checkpoint")
    save_checkpoint(router, uri, meta=CheckpointMeta(candidate_ids=router.candidates))
    read = load_router(uri).predict(test.texts)
    assert np.array_equal(read.reward, router.predict(test.texts).reward)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_missing_cells_and_unknown_tokens_are_masked(setting, method: Method):
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
def test_a_task_without_a_probe_has_the_others_level_and_the_newcomers_mean(method: Method):
    train = outcomes_of(900)
    base = method.fit(without(train, "poet"), seed=0)
    sums = train.take(np.flatnonzero(train.tasks == "sums")[:60])
    expected = with_candidate(base, "poet", probe=sums).predict(train.texts).reward[:, -1]
    assert np.isfinite(expected).all()
    assert expected.mean() == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize("method", [Knn(), ClusterTable(), Ridge()], ids=lambda m: m.name)
def test_hard_queries_are_hard_for_the_newcomer_too(method: Method):
    train = outcomes_of(1500, hard=0.2)
    knn = Knn().fit(without(train, "poet"), seed=0)
    base = method.fit(without(train, "poet"), seed=0)
    router = with_candidate(base, "poet", probe=probe_of(train, knn.vectors, size=150))
    words = ["rhyme about flower 345 plain simple easy", "rhyme about flower 345 tricky puzzling"]
    easy, hard = router.predict(pl.Series(words)).reward[:, -1]
    assert easy > hard + 0.02


@pytest.fixture(scope="module")
def multihead(setting):
    quick = {"epochs": 30, "learning_rate": 0.01, "hidden": 16, "dropout": 0.0, "rank": 4}
    return Multihead(**quick).fit(without(setting[0], "poet"), seed=0)


def test_a_candidates_vector_is_placed_among_trained_ones(setting, multihead):
    _, probe, test = setting
    router = with_candidate(multihead, "poet", probe=probe)
    found, before = router.predict(test.texts), multihead.predict(test.texts)
    assert found.reward[:, :3] == pytest.approx(before.reward, abs=1e-6)
    poet = {task: found.reward[test.tasks == task, 3].mean() for task in TASKS}
    assert poet == pytest.approx(dict(zip(TASKS, CHANCE["poet"], strict=True)), abs=0.25)
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


def test_what_cannot_be_taken_up_is_told(setting):
    train, probe, _ = setting
    base = BestSingle().fit(without(train, "poet"), seed=0)
    with pytest.raises(InputError, match="'steady' is one of the router's already"):
        with_candidate(base, "steady", probe=probe)
    with pytest.raises(InputError, match="'nobody' has no outcomes in the probe; those that have"):
        with_candidate(base, "nobody", probe=probe)
    unscored = replace(probe, reward=np.full_like(probe.reward, np.nan))
    with pytest.raises(InputError, match="'poet' has no reward on any probe"):
        with_candidate(base, "poet", probe=unscored)


def test_a_method_that_cannot_says_so(setting):
    class Fixed(Router):
        method = "fixed"
        candidates = KNOWN
        predict = state = from_state = None

    with pytest.raises(InputError, match="fixed cannot take up a candidate without retraining"):
        with_candidate(Fixed(), "poet", probe=setting[1])
