"""A floor under quality, as a user has it: calibrated, routed by, and refused where it must be."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.lake.lake import Lake
from cluster.policies.constraints import Constraints
from flows.calibrate import CalibrateParams, calibrate_spec
from flows.route import RouteParams


@dataclass(frozen=True)
class Shop:
    """A lake with a cheap and a dear candidate, a router's version, and files to route."""

    lake: Path
    router: str
    prices: Path
    queries: Path
    folder: Path


def question(draw: random.Random, *, is_sum: bool) -> str:
    """A new one of either kind."""
    first, second = draw.randint(0, 99_999), draw.randint(0, 99_999)
    return f"what is {first} plus {second}" if is_sum else f"spell item{first} letter{second}"


@pytest.fixture(scope="module")
def shop(signalbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Both candidates know sums; words are for the dear one. Of 1,200 queries half calibrate."""
    folder = tmp_path_factory.mktemp("floor")
    draw = random.Random(0)
    tokens = [
        f"{kind}:{name}" for kind in ("prompt_tokens", "tokens") for name in ("cheap", "dear")
    ]
    lines = [",".join(["text,task,split,cheap,dear", *tokens])]
    splits = ("train", "calibration", "train", "calibration", "test", "calibration")
    for number in range(1_200):
        is_sum = number % 2 == 0
        text = question(draw, is_sum=is_sum)
        cheap, dear = (int(draw.random() < share) for share in (0.93 if is_sum else 0.2, 0.93))
        split = splits[number // 2 % len(splits)]
        lines.append(f"{text},{'sum' if is_sum else 'word'},{split},{cheap},{dear},20,20,20,20")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "prices.yaml").write_text(
        "cheap: {input: 1, output: 1}\ndear: {input: 20, output: 20}\n"
    )
    sums, words = ([question(draw, is_sum=one) for _ in range(200)] for one in (True, False))
    pl.DataFrame({"text": sums + words}).write_parquet(folder / "queries.parquet")
    pl.DataFrame({"text": sums}).write_parquet(folder / "sums.parquet")
    lake = folder / "lake"
    table = ("--format", "table", "--path", folder / "table.csv", "--dataset", "shop")
    assert signalbox("import", *table, "--lake", lake).status == 0
    train = ("--dataset", "shop", "--methods", "cluster_table", "--lake", lake)
    router = signalbox("train", *train).manifest["routers"][0]["version"]
    return Shop(lake, router, folder / "prices.yaml", folder / "queries.parquet", folder)


def test_a_calibrated_floor_routes_and_says_what_it_promises(signalbox: Any, shop: Shop) -> None:
    own = ("--router", shop.router, "--lake", shop.lake)
    floor = ("--floor", "0.9", "--prices", shop.prices, *own)
    page = shop.folder / "page"
    done = signalbox("calibrate", *floor, "--output", page)
    calibrated = done.manifest
    assert calibrated["certified"]
    assert 0.3 < calibrated["saved"] < 0.7
    promise = (
        "the mean reward of new queries drawn like it, each text once, is at least 0.9 times that "
        "of 'dear'"
    )
    assert promise in calibrated["promise"]
    assert promise in done.err
    assert (page / "calibration.html").exists()
    assert (page / "cost_quality.png").exists()
    output = shop.folder / "routed.parquet"
    files = ("--input", shop.queries, "--output", output)
    done = signalbox("route", *files, "--policy", "quality_floor", *floor)
    routed = done.manifest
    assert promise in done.err
    assert promise in Path(routed["report"]).read_text().replace("&#x27;", "'")
    facts = routed["policy_facts"]
    assert facts["tau"] == calibrated["policy"]["tau"]
    assert facts["promise"] == calibrated["promise"]
    assert facts["calibration"] == json.loads(Path(calibrated["record"]).read_text())["id"]
    chosen = pl.read_parquet(output)["candidate"]
    assert (chosen[:200] == "cheap").mean() > 0.8
    assert (chosen[200:] == "dear").mean() > 0.6
    assert len(list((shop.lake / "calibrations").glob("*.json"))) == 1


def test_route_asks_for_the_record_that_calibrate_makes(shop: Shop) -> None:
    asked = {
        "lake": str(shop.lake),
        "router": shop.router,
        "prices": str(shop.prices),
        "floor": 0.9,
        "scorer": "accuracy",
        "normalisation": "min_max",
        "reward_max": 5.0,
    }
    files = {"input": str(shop.queries), "output": "routed.csv", "policy": "quality_floor"}
    lake = Lake.open(str(shop.lake))
    one, two = (
        calibrate_spec(params, dataset="", constraints=Constraints(), lake=lake)
        for params in (CalibrateParams(**asked), RouteParams(**asked, **files))
    )
    assert one == two
    assert (two.scorer, two.normalisation, two.reward_max) == ("accuracy", "min_max", 5.0)


def test_another_mix_of_queries_is_not_promised_anything(signalbox: Any, shop: Shop) -> None:
    files = ("--input", shop.folder / "sums.parquet", "--output", shop.folder / "sums_routed.csv")
    own = ("--router", shop.router, "--lake", shop.lake, "--prices", shop.prices)
    floor = ("--policy", "quality_floor", "--floor", "0.9", *own)
    signalbox("route", *files, *floor).refused("does not promise anything", "mix of queries")
    assert not (shop.folder / "sums_routed.csv").exists()


def test_what_cannot_be_promised_is_told_before_anything_starts(told: Any, shop: Shop) -> None:
    lake = ("--router", shop.router, "--lake", shop.lake)
    told("calibrate", "--floor", "1.5", *lake).refused("--floor", status=2)
    told("calibrate", "--dataset", "gone", "--prices", shop.prices, *lake).refused(
        "dataset 'gone' is not in"
    )
    told("calibrate", "--strong", "dear", *lake).refused("--strong and --weak name a pair")
    told("calibrate", "--allowed", "gone", *lake).refused("gone: not among the router's")
    files = ("--input", shop.queries, "--output", shop.folder / "none.parquet")
    route = ("route", *files, "--policy", "quality_floor", *lake)
    told(*route, "--explore", "0.1").refused("--explore", "the promise of")
    told(*route).refused("no price for cheap, dear", "--prices")
    told("calibrate", *lake).refused("no price for cheap, dear", "--prices")
    priced = (*route, "--prices", shop.prices)
    told(*priced, "--reference", "gone").refused("gone: not among the router's candidates")
    only = ("--allowed", "cheap", "--reference", "dear")
    told(*priced, *only).refused("'dear' is not among those of --allowed")
    told("calibrate", *lake, *only, "--prices", shop.prices).refused("not among those of --allowed")
    told(*priced, "--calibrated-on", "gone").refused("dataset 'gone' is not in")
    told("route", *files, "--calibrated-on", "shop", *lake).refused("--calibrated-on", "best")
