"""The route job, run by hand: every row once, in order, whatever was interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs import route as route_module
from cluster.jobs.ingest import pin_files
from cluster.jobs.route import RouteSpec, route
from cluster.jobs.run import Run
from cluster.outcome import OutcomeMatrix
from cluster.policies.constraints import Constraints
from cluster.price import Price
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn, KnnRouter
from cluster.routers.router import Prediction, Router
from cluster.routers.similarity_weighted import SimilarityWeighted
from cluster.storage import Storage

CANDIDATES = ("cheap", "strong")
ONLY_CHEAP, ONLY_OTHER = Constraints(allowed=("cheap",)), Constraints(allowed=("other",))
PRICES = {"cheap": Price(input=1, output=1), "strong": Price(input=10, output=10)}


def sums_and_poems() -> OutcomeMatrix:
    """`cheap` can add, `strong` can write poems."""
    texts = [f"add {n} and {n + 1}" for n in range(40)] + [
        f"a poem on {n} trees" for n in range(40)
    ]
    reward = np.array([[1.0, 0.0]] * 40 + [[0.0, 1.0]] * 40)
    queries = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    queries = queries.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    return OutcomeMatrix(
        queries, CANDIDATES, ("id-1", "id-2"), reward, tokens, tokens, tokens, tokens, tokens * 0
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(version, folder) of a router that sends sums to `cheap` and poems to `strong`."""
    router = Knn(k=5).fit(sums_and_poems(), seed=0)
    return saved(router, tmp_path_factory.mktemp("checkpoint") / "router")


@pytest.fixture(scope="module")
def made_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(version, folder) of a router that knows which of its two candidates is the strong one."""
    router = SimilarityWeighted(strong="strong", weak="cheap").fit(sums_and_poems(), seed=0)
    return saved(router, tmp_path_factory.mktemp("pair") / "router")


def saved(router: Router, folder: Path) -> tuple[str, str]:
    ratios = {"prompt_tokens_per_character": {"cheap": 0.5, "strong": 0.5}}
    ids = {"cheap": "id-1", "strong": "id-2"}
    known = tuple(ids[name] for name in router.candidates)
    meta = CheckpointMeta(candidate_ids=known, data=ratios)
    return save_checkpoint(router, str(folder), meta=meta), str(folder)


@pytest.fixture
def rows() -> pl.DataFrame:
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in range(25)]
    return pl.DataFrame({"id": range(25), "text": texts})


def spec_for(tmp_path: Path, checkpoint: tuple[str, str], name: str, **changes) -> RouteSpec:
    settings = {
        "lake": str(tmp_path / "lake"),
        "files": pin_files(str(tmp_path / "in.*")),
        "output": str(tmp_path / name),
        "text_column": "text",
        "router": checkpoint[0],
        "checkpoint": checkpoint[1],
        "policy": "best",
        "policy_settings": {},
        "prices": PRICES,
        "max_error_share": 0.05,
    }
    return RouteSpec(**(settings | changes))


def run(spec: RouteSpec) -> dict:
    manifest = route(spec, Run.of(spec))
    Run.of(spec).write_manifest(manifest)
    return manifest


def test_every_row_keeps_its_columns_and_gets_its_candidate(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    manifest = run(spec_for(tmp_path, checkpoint, "out.parquet"))
    routed = pl.read_parquet(tmp_path / "out.parquet")
    assert routed.select("id", "text").equals(rows)
    wanted = ["cheap" if n % 2 else "strong" for n in range(25)]
    assert routed["candidate"].to_list() == wanted
    assert manifest["shares"] == {"cheap": 12 / 25, "strong": 13 / 25}
    first = routed.row(0, named=True)
    assert first["predicted_reward"] == first["reward:strong"] > first["reward:cheap"]
    # 18 characters at half a token each and 10 completion tokens, at 10 USD a million.
    assert first["predicted_cost_usd"] == pytest.approx((0.5 * len(first["text"]) + 10) * 10e-6)
    assert set(routed["router"]) == {checkpoint[0]}


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.csv.zst", "folder"])
def test_any_format_and_any_batch_size_give_the_same_rows(
    tmp_path, checkpoint, rows, name, monkeypatch
) -> None:
    rows.write_ndjson(tmp_path / "in.jsonl")
    run(spec_for(tmp_path, checkpoint, "whole.parquet"))
    monkeypatch.setattr(route_module, "BATCH_ROWS", 7)
    run(spec_for(tmp_path, checkpoint, name))
    whole = pl.read_parquet(tmp_path / "whole.parquet")
    if name == "folder":
        found = pl.read_parquet(tmp_path / "folder")
    elif "csv" in name:
        found = pl.read_csv(tmp_path / name)
    else:
        found = pl.read_ndjson(tmp_path / name)
    assert found["id"].to_list() == whole["id"].to_list()
    assert found["candidate"].to_list() == whole["candidate"].to_list()


def test_a_killed_run_goes_on_after_the_parts_that_are_there(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    spec = spec_for(tmp_path, checkpoint, "out.parquet")
    uri = Run.of(spec).write_spec(spec)
    command = [sys.executable, "-c"]
    code = (
        "import sys; from cluster.jobs import route; from cluster.jobs.run import main;"
        f"route.BATCH_ROWS = 7; sys.argv = ['route', {uri!r}];"
        "main(route.RouteSpec, work=route.route)"
    )
    for place in ("route.after_part:2", "route.before_part:2", "route.before_output"):
        environment = os.environ | {"SIGNALBOX_FAILPOINT": place}
        died = subprocess.run([*command, code], env=environment, check=False, capture_output=True)
        assert died.returncode == -signal.SIGKILL, f"{place}: {died.stderr.decode()}"
        assert not (tmp_path / "out.parquet").exists()
    done = subprocess.run([*command, code], check=True, capture_output=True)
    assert done.returncode == 0
    assert pl.read_parquet(tmp_path / "out.parquet").select("id", "text").equals(rows)


def test_an_output_that_is_there_is_refused_or_replaced_never_mixed(
    tmp_path, checkpoint, rows
) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    (tmp_path / "out.jsonl").write_text("mine\n")
    with pytest.raises(InputError, match="--overwrite"):
        run(spec_for(tmp_path, checkpoint, "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_text() == "mine\n"
    run(spec_for(tmp_path, checkpoint, "out.jsonl", overwrite=True))
    assert pl.read_ndjson(tmp_path / "out.jsonl").height == 25


def test_overwriting_a_folder_leaves_no_part_of_the_run_before(
    tmp_path, checkpoint, rows, monkeypatch, root
) -> None:
    storage = Storage.at(f"{root}/folder")
    rows.write_parquet(tmp_path / "in.parquet")
    with monkeypatch.context() as small:
        small.setattr(route_module, "BATCH_ROWS", 7)
        run(spec_for(tmp_path, checkpoint, "", output=storage.uri))
    assert len(storage.list(storage.uri)) == 4
    rows.head(5).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match="--overwrite"):
        run(spec_for(tmp_path, checkpoint, "", output=storage.uri))
    manifest = run(spec_for(tmp_path, checkpoint, "", output=storage.uri, overwrite=True))
    assert [uri for uri, _ in storage.list(storage.uri)] == manifest["outputs"]
    [part] = manifest["outputs"]
    assert pl.read_parquet(storage.read_bytes(part))["id"].to_list() == list(range(5))


def test_work_whose_output_was_replaced_counts_as_undone(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    first = spec_for(tmp_path, checkpoint, "out.parquet")
    run(first)
    assert Run.of(first).read_manifest() is not None
    run(first)
    run(
        spec_for(
            tmp_path,
            checkpoint,
            "out.parquet",
            constraints=ONLY_CHEAP,
            overwrite=True,
        )
    )
    assert Run.of(first).read_manifest() is None
    with pytest.raises(InputError, match="--overwrite"):
        run(first)
    assert set(pl.read_parquet(tmp_path / "out.parquet")["candidate"]) == {"cheap"}


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.json", "out.txt", "out.csv.bz2", "out.gz"])
def test_an_output_of_an_unknown_kind_is_refused(tmp_path, checkpoint, rows, name) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"\.parquet.*without an extension is a folder"):
        run(spec_for(tmp_path, checkpoint, name))
    assert not (tmp_path / name).exists()


def test_broken_rows_are_left_out_and_kept_with_their_reason(tmp_path, checkpoint, rows) -> None:
    lines = rows.write_ndjson().splitlines()
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"id": 99, "text": ""}']) + "\n")
    manifest = run(spec_for(tmp_path, checkpoint, "out.jsonl"))
    assert (manifest["rows"], manifest["broken"]) == (25, 1)
    quarantine = pl.read_ndjson(manifest["quarantine"])
    assert quarantine["row"].to_list() == [26]
    with pytest.raises(InputError, match="row 26"):
        run(spec_for(tmp_path, checkpoint, "other.jsonl", max_error_share=0.01))
    assert not (tmp_path / "other.jsonl").exists()


def test_allowed_candidates_prefix_and_prices(tmp_path, checkpoint, rows) -> None:
    rows.with_columns(candidate=pl.lit("x")).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match="--prefix"):
        run(spec_for(tmp_path, checkpoint, "out.parquet"))
    run(
        spec_for(
            tmp_path,
            checkpoint,
            "out.parquet",
            prefix="our_",
            constraints=ONLY_CHEAP,
        )
    )
    assert set(pl.read_parquet(tmp_path / "out.parquet")["our_candidate"]) == {"cheap"}
    with pytest.raises(InputError, match="not among the router's candidates"):
        run(
            spec_for(
                tmp_path,
                checkpoint,
                "b.parquet",
                prefix="our_",
                constraints=ONLY_OTHER,
            )
        )


def test_a_router_that_reads_an_answer_is_refused(tmp_path, checkpoint, rows, monkeypatch) -> None:
    """Without the answer it would decide by less than it was measured with."""
    rows.write_parquet(tmp_path / "in.parquet")
    monkeypatch.setattr(KnnRouter, "reads_answer_of", "cheap")
    with pytest.raises(InputError, match=r"'cheap' has answered.*--router"):
        run(spec_for(tmp_path, checkpoint, "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    "prices",
    [{}, {"cheap": PRICES["cheap"]}, {"unrelated": PRICES["cheap"]}],
    ids=["none", "some", "unrelated"],
)
def test_without_every_price_costs_are_unknown_and_only_utility_minds(
    tmp_path, checkpoint, rows, prices
) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    manifest = run(spec_for(tmp_path, checkpoint, "best.parquet", prices=prices))
    assert manifest["predicted_cost_usd"] is None
    assert pl.read_parquet(tmp_path / "best.parquet")["predicted_cost_usd"].null_count() == 25
    utility = {"policy": "utility", "policy_settings": {"lambda_usd": 1.0}}
    with pytest.raises(InputError, match=r"no price for .*'strong'"):
        run(spec_for(tmp_path, checkpoint, "utility.parquet", prices=prices, **utility))
    assert not (tmp_path / "utility.parquet").exists()


def test_the_cost_of_all_rows_is_their_sum(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    prices = PRICES | {"unrelated": Price(input=1e6, output=1e6)}
    manifest = run(spec_for(tmp_path, checkpoint, "out.parquet", prices=prices))
    costs = pl.read_parquet(tmp_path / "out.parquet")["predicted_cost_usd"]
    assert manifest["predicted_cost_usd"] == pytest.approx(costs.sum())
    assert costs.sum() > 0


def test_one_row_of_unknown_cost_makes_the_whole_cost_unknown(
    tmp_path, checkpoint, rows, monkeypatch
) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    predict = Knn.router.predict

    def never_seen(router: Any, texts: pl.Series) -> Prediction:
        prediction = predict(router, texts)
        prediction.completion_tokens[3] = np.nan
        return prediction

    monkeypatch.setattr(Knn.router, "predict", never_seen)
    manifest = run(spec_for(tmp_path, checkpoint, "out.parquet"))
    assert pl.read_parquet(tmp_path / "out.parquet")["predicted_cost_usd"].null_count() == 1
    assert manifest["predicted_cost_usd"] is None


def test_a_damaged_checkpoint_is_refused(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError):
        run(spec_for(tmp_path, ("0" * 64, checkpoint[1]), "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_what_a_router_learned_of_its_pair_serves_another(tmp_path, made_pair, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    run(spec_for(tmp_path, made_pair, "own.parquet"))
    prices = {"large-2": Price(input=10, output=10), "small-2": Price(input=1, output=1)}
    lent = {"strong": "large-2", "weak": "small-2", "prices": prices}
    run(spec_for(tmp_path, made_pair, "lent.parquet", **lent))
    own, other = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("own", "lent"))
    assert set(other["candidate"]) == {"large-2", "small-2"}
    as_before = other["candidate"].replace({"large-2": "strong", "small-2": "cheap"})
    assert as_before.to_list() == own["candidate"].to_list()
    assert other["reward:large-2"].to_list() == own["reward:strong"].to_list()
    assert other["predicted_cost_usd"].to_list() == own["predicted_cost_usd"].to_list()


def test_a_router_without_a_pair_of_its_own_lends_none(tmp_path, checkpoint, rows) -> None:
    rows.write_parquet(tmp_path / "in.parquet")
    with pytest.raises(InputError, match="pair"):
        run(spec_for(tmp_path, checkpoint, "out.parquet", strong="x", weak="y"))
