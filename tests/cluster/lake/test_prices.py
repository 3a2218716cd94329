"""Prices are inputs: from a file, else those the candidates came with."""

import json
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.candidates import keep_specs
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.price import Price

MODELS = Path(__file__).parents[3] / "infra" / "demo" / "models"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    specs = {"dear": {"price": {"input": 1.0, "output": 2.0}}, "free": {"price": None}, "old": {}}
    rows = [(f"id-{name}", name, json.dumps(spec)) for name, spec in specs.items()]
    keep(lake, rows)
    return lake


def keep(lake: Lake, rows: list[tuple[str, str, str]]) -> None:
    columns = ["candidate_id", "name", "spec"]
    keep_specs(pl.DataFrame(rows, schema=columns, orient="row"), lake=lake)


def test_the_newest_price_holds_and_one_of_the_past_may_come_back(lake: Lake) -> None:
    for value in (9.0, 1.0):
        spec = json.dumps({"price": {"input": value, "output": value}})
        keep(lake, [("id-dear", "dear", spec)])
        assert read_prices("", lake=lake) == {"dear": Price(input=value, output=value)}


def test_candidates_of_one_name_have_a_price_each(lake: Lake) -> None:
    keep(lake, [("id-other", "dear", json.dumps({"price": {"input": 3, "output": 3}}))])
    prices = read_prices("", lake=lake)
    assert prices["dear@id-dear"] == Price(input=1.0, output=2.0)
    assert prices["dear@id-other"] == prices["dear"] == Price(input=3, output=3)


def test_an_import_of_the_same_name_takes_no_price_away(lake: Lake) -> None:
    keep(lake, [("id-imported", "dear", json.dumps({"imported": "table"}))])
    assert read_prices("", lake=lake)["dear"] == Price(input=1.0, output=2.0)


def test_without_a_file_the_candidates_own_prices_count(lake: Lake) -> None:
    assert read_prices("", lake=lake) == {"dear": Price(input=1.0, output=2.0)}


def test_a_price_file_counts_alone(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("other: {input: 0.5, output: 0}\n")
    assert read_prices(str(path), lake=lake) == {"other": Price(input=0.5, output=0.0)}


@pytest.mark.parametrize("head", ["", "candidates:"])
def test_a_candidate_file_counts_and_one_without_a_price_is_named(
    lake: Lake, tmp_path: Path, head: str
) -> None:
    path = tmp_path / "candidates.yaml"
    entries = [
        f"- {{name: a, engine: vllm, model: {MODELS}/abacus, price: {{input: 1, output: 2}}}}",
        f"- {{name: b, engine: vllm, model: {MODELS}/caesar}}",
    ]
    path.write_text("\n".join([head, *entries]))
    with pytest.raises(InputError, match=r"candidates\.yaml: no price for b; add 'price'"):
        read_prices(str(path), lake=lake)
    path.write_text("\n".join([head, *entries[:1]]))
    assert read_prices(str(path), lake=lake) == {"a": Price(input=1.0, output=2.0)}


@pytest.mark.parametrize("content", [None, "a: {input: -1, output: 1}", "a: [", "- 3", "a: 7"])
def test_a_file_that_holds_no_prices_is_named(
    lake: Lake, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"prices\.yaml"):
        read_prices(str(path), lake=lake)
