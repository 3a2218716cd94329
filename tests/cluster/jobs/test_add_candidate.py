"""A newcomer joins a router: probes are chosen, its column is filled, and it is measured apart."""

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.add_candidate import AddCandidateSpec, add_candidate, standing_for_all
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.kept_outcomes import fitted_on, keep_outcomes
from cluster.jobs.probe import ProbeSpec, probe
from cluster.jobs.probe import choose as choose_rows
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, read_outcomes
from cluster.routers.checkpoint import CheckpointMeta, load_router, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routers.near_duplicates import near_duplicates
from cluster.routers.random import Random
from cluster.routers.routerdc import RouterDC

KNOWN = ("adder", "roman")
NEWCOMER = "poet"


@pytest.fixture
def lake(tmp_path):
    """Three kinds of questions; `adder` and `roman` master one each, the newcomer the third."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.arange(600) % 3)
    words = np.array(["What is %d plus %d?", "Write %d in Roman, case %d", "Rhyme on %d and %d"])
    texts = [words[kind] % tuple(rng.integers(1, 9999, 2)) for kind in kinds]
    chance = np.where(kinds[:, None] == np.arange(3), 0.9, 0.1)
    reward = (rng.random((600, 3)) < chance).astype(float)
    scores = {name: reward[:, column] for column, name in enumerate([*KNOWN, NEWCOMER])}
    splits = np.where(np.arange(600) < 400, "train", "test")
    frame = pl.DataFrame({"text": texts, "split": splits, **scores})
    path = tmp_path / "scores.csv"
    frame.write_csv(path)
    spec = ImportSpec(
        lake=str(tmp_path / "lake"),
        format="table",
        path=str(path),
        digest=path_digest(str(path)),
        dataset="scores",
    )
    import_table(spec, Run.of(spec))
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def trained(lake):
    """A method fitted on the known candidates: version and checkpoint."""

    def fit(method):
        known = read_outcomes(lake, dataset="scores", scorer="", candidates=KNOWN)
        train = known.on_splits(["train", "validation"])
        uri = lake.storage.join("checkpoints", method.name)
        meta = CheckpointMeta(candidate_ids=known.candidate_ids)
        return save_checkpoint(method.fit(train, seed=0), uri, meta=meta), uri

    return fit


def choose(lake, router, **fields):
    spec = ProbeSpec(
        lake=lake.storage.uri,
        dataset="scores",
        scorer="",
        normalisation="none",
        router=router[0],
        checkpoint=router[1],
        candidate=NEWCOMER,
        candidate_id="",
        scored=NEWCOMER,
        **{"size": 90, "test_size": 100, "seed": 0, **fields},
        inputs=lake.versions(INPUTS),
    )
    return probe(spec, Run.of(spec))


def take_up(lake, router, requests, candidate=NEWCOMER):
    spec = AddCandidateSpec(
        lake=lake.storage.uri,
        candidate=candidate,
        requests=requests,
        router=router[0],
        checkpoint=router[1],
        dataset="scores",
        scorer="",
        normalisation="none",
        prices={},
        seed=0,
        inputs=lake.versions(INPUTS),
    )
    return add_candidate(spec, Run.of(spec))


def requests_of(lake, manifest):
    return pl.read_parquet(io.BytesIO(lake.storage.read_bytes(manifest["requests"])))


def test_probes_are_of_train_and_test_queries_of_test(lake, trained):
    requests = requests_of(lake, choose(lake, trained(Knn(k=10))))
    queries = read_outcomes(lake, dataset="scores", scorer="").queries.select("query_id", "split")
    split = requests.join(queries, on="query_id")
    assert set(split.filter(role="test")["split"]) == {"test"}
    assert set(split.filter(role="probe")["split"]) <= {"train", "validation"}
    assert requests["role"].value_counts().sort("role")["count"].to_list() == [90, 100]
    assert requests["query_id"].is_unique().all()


def test_a_larger_test_draw_holds_the_smaller(lake, trained):
    router = trained(Knn(k=10))
    small, large = (
        set(requests_of(lake, choose(lake, router, test_size=n)).filter(role="test")["query_id"])
        for n in (20, 60)
    )
    assert small < large


def test_the_newcomer_gets_what_it_is_good_at(lake, trained):
    router = trained(Knn(k=10))
    found = take_up(lake, router, choose(lake, router)["requests"])
    assert found["metrics"]["lift_over_champion_low"] > 0.1
    assert 0.2 < found["share"] < 0.5
    widened = load_router(found["checkpoint"], version=found["version"])
    assert widened.candidates == (*KNOWN, NEWCOMER)
    asked = pl.Series(["Rhyme on 17 and 4", "What is 17 plus 4?"])
    assert np.argmax(widened.predict(asked).reward, axis=1).tolist() == [2, 0]
    before = load_router(router[1]).predict(asked).reward
    np.testing.assert_array_equal(widened.predict(asked).reward[:, :2], before)


def test_a_trained_network_takes_it_up(lake, trained):
    router = trained(RouterDC(epochs=5, hidden=16, sample_weight=0.0))
    found = take_up(lake, router, choose(lake, router)["requests"])
    assert found["metrics"]["lift_over_champion_low"] > 0.1
    widened = load_router(found["checkpoint"], version=found["version"])
    assert widened.candidates == (*KNOWN, NEWCOMER)


def test_a_method_that_cannot_take_one_up_says_so(lake, trained):
    """Before anything is chosen that would have to be answered, and in the end."""
    router = trained(Random())
    with pytest.raises(InputError, match="random"):
        choose(lake, router)
    requests = choose(lake, trained(Knn(k=10)))["requests"]
    with pytest.raises(InputError, match="random"):
        take_up(lake, router, requests)


def test_what_the_widened_router_was_fitted_on_is_kept(lake, trained):
    router = trained(Knn(k=10))
    requests = choose(lake, router)["requests"]
    added = take_up(lake, router, requests)
    kept = fitted_on(added["checkpoint"], lake=lake)
    chosen = pl.read_parquet(requests).filter(role="probe")["query_id"]
    assert set(kept["query_id"]) == set(chosen)
    more = pl.DataFrame({"query_id": ["elsewhere"], "split": ["train"], "adder": [1.0]})
    keep_outcomes(more, checkpoint=router[1], lake=lake)
    again = take_up(lake, router, requests)
    assert set(fitted_on(again["checkpoint"], lake=lake)["query_id"]) == {*chosen, "elsewhere"}


def test_a_candidate_that_is_there_already_is_refused(lake, trained):
    router = trained(Knn(k=10))
    requests = choose(lake, router)["requests"]
    with pytest.raises(InputError, match="adder"):
        take_up(lake, router, requests, candidate="adder")


def test_no_probe_repeats_a_measured_query(lake, trained):
    requests = requests_of(lake, choose(lake, trained(Knn(k=10)), size=400, test_size=200))
    texts = dict(requests.group_by("role").agg("text").iter_rows())
    assert not near_duplicates(pl.Series(texts["probe"]), held_out=pl.Series(texts["test"])).any()
    known = read_outcomes(lake, dataset="scores", scorer="", candidates=KNOWN)
    row = known.queries["split"].index_of("train")
    asked = known.queries.filter(split="test")["text"][0]
    text = pl.when(pl.int_range(pl.len()) == row).then(pl.lit(asked)).otherwise("text")
    queries = known.queries.with_columns(text=text)
    chosen = choose_rows(replace(known, queries=queries), size=400, test_size=200, seed=0)
    assert queries["query_id"][row] not in set(chosen.filter(role="probe")["query_id"])


def test_baselines_see_the_newcomer_as_it_is_on_all_queries(lake):
    """Nine probes of ten are disputed queries, which are one of ten, and which it fails."""
    outcomes = read_outcomes(lake, dataset="scores", scorer="").on_splits(["train"])
    outcomes = outcomes.take(np.arange(20))
    probability = np.repeat([0.9, 0.1 / 9], 10)
    reward = outcomes.reward.copy()
    reward[:, outcomes.candidates.index(NEWCOMER)] = np.repeat([0.0, 1.0], 10)
    drawn = outcomes.queries.with_columns(sampling_probability=pl.Series(probability))
    probe = replace(outcomes, queries=drawn, reward=reward).take(np.arange(1, 11))
    filled = standing_for_all(outcomes, probe=probe, candidate=NEWCOMER)
    column = outcomes.candidates.index(NEWCOMER)
    assert filled.reward[:, column] == pytest.approx(90 / (90 + 9 / 0.9))
    others = [place for place in range(3) if place != column]
    np.testing.assert_array_equal(filled.reward[:, others], outcomes.reward[:, others])
