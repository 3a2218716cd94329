"""What is told of a newcomer before Ray or an engine is started."""

import numpy as np
import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.routers.checkpoint import read_manifest
from flows.add_candidate import AddCandidateParams, check


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Three candidates with outcomes; a router is fitted on two of them."""
    folder = tmp_path_factory.mktemp("newcomer")
    rng = np.random.default_rng(0)
    splits = np.array(["train", "train", "validation", "test"])[np.arange(120) % 4]
    frame = pl.DataFrame(
        {
            "text": [f"question {n} of {rng.integers(1e6)}" for n in range(120)],
            "split": splits,
            **{name: rng.random(120).round() for name in ("small", "large", "new")},
        }
    )
    path = folder / "scores.csv"
    frame.write_csv(path)
    lake = str(folder / "lake")
    spec = ImportSpec(
        lake=lake, format="table", path=str(path), digest=path_digest(str(path)), dataset="toy"
    )
    import_table(spec, Run.of(spec))
    opened = Lake.open(lake)
    fit = TrainSpec(
        lake=lake,
        methods=("knn",),
        dataset="toy",
        scorer="",
        normalisation="none",
        candidates=("small", "large"),
        prices={},
        seed=0,
        inputs=opened.versions(INPUTS),
        settings={"knn": {"k": 5}},
        champion=None,
    )
    (router,) = train(fit, Run.of(fit))["routers"]
    registry.register(
        opened,
        version=router["version"],
        checkpoint=router["checkpoint"],
        method="knn",
        dataset="toy",
        metrics={},
        why="for a test",
    )
    return lake, router["version"]


def params(lake, **fields):
    return AddCandidateParams(lake=lake[0], router=lake[1], dataset="toy", name="new", **fields)


def test_a_candidate_whose_rewards_are_there_passes(lake):
    check(params(lake))


def test_a_candidate_the_router_knows_is_refused(lake):
    known = params(lake).model_copy(update={"name": "small"})
    with pytest.raises(InputError, match=r"knows candidate 'small' already; its .*: small, large"):
        check(known)


def test_rewards_that_mean_something_else_are_refused(lake):
    other = params(lake, normalisation="min_max")
    with pytest.raises(InputError, match=r"fitted on rewards .* 'none'.*--normalisation none"):
        check(other)


def test_a_sigmoid_is_another_one_at_another_temperature(lake, monkeypatch):
    other = params(lake, normalisation="sigmoid", temperature=2.0)
    with pytest.raises(InputError, match=r"'none', and .* 'sigmoid --temperature 2': take"):
        check(other)
    checkpoint = registry.resolve(Lake.open(lake[0]), version=lake[1])["checkpoint"]
    router = read_manifest(checkpoint)
    assert router.label["temperature"] == 1.0
    sigmoid = router.model_copy(update={"label": router.label | {"normalisation": "sigmoid"}})
    monkeypatch.setattr("flows.add_candidate.read_manifest", lambda _: sigmoid)
    with pytest.raises(InputError, match=r"--normalisation sigmoid --temperature 1, or another"):
        check(other)
    check(other.model_copy(update={"temperature": 1.0}))


def test_a_rank_among_others_is_no_reward_of_a_newcomer_s(lake):
    with pytest.raises(InputError, match=r"--normalisation rank: .* 'signalbox train'"):
        check(params(lake, normalisation="rank"))
