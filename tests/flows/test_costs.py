"""What a collection costs: told before, capped while it runs, kept in the lake, cut to a budget."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.tables import CHOICES, COMPLETIONS

DEMO_MODEL = Path(__file__).parents[2] / "infra" / "demo" / "models" / "abacus"
N = 120


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.jsonl"
    rows = [{"text": f"what is {n} plus 2?", "reference": str(n + 2)} for n in range(N)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def candidate_file(folder: Path, *, price: str = "price: {input: 100, output: 1000}") -> Path:
    """Two candidates of one model; a prompt is some 8 tokens, an answer 3 or 5."""
    path = folder / "candidates.yaml"
    one = f"engine: transformers, model: {DEMO_MODEL}, dtype: float32, {price}"
    path.write_text(
        f"- {{name: short, {one}, sampling: {{max_tokens: 3}}}}\n"
        f"- {{name: long, {one}, sampling: {{max_tokens: 5}}}}\n"
    )
    return path


def test_a_plan_starts_nothing_and_writes_nothing(told: Any, queries: Path, tmp_path: Path) -> None:
    lake = tmp_path / "none"
    files = ("--queries", queries, "--candidates", candidate_file(tmp_path), "--lake", lake)
    manifest = told("collect", *files, "--plan").manifest
    assert [(row["candidate"], row["missing"]) for row in manifest["plan"]] == [
        ("short", N),
        ("long", N),
    ]
    assert [row["completion_tokens"] for row in manifest["plan"]] == [3 * N, 5 * N]
    assert manifest["total"]["cost_usd"] == pytest.approx(
        sum(row["cost_usd"] for row in manifest["plan"])
    )
    assert not lake.exists()
    few = told("collect", *files, "--plan", "--budget", "30").manifest
    assert [row["missing"] for row in few["plan"]] == [30, 30]


def test_a_cap_without_prices_is_refused_before_anything_starts(
    told: Any, queries: Path, tmp_path: Path
) -> None:
    candidates = candidate_file(tmp_path, price="resources: {gpus: 0}")
    files = ("--queries", queries, "--candidates", candidates, "--lake", tmp_path / "none")
    told("collect", *files, "--max-usd", "1").refused("no price for short, long", "--max-usd")
    assert not (tmp_path / "none").exists()


def test_a_blend_of_what_does_not_run_is_refused_before_anything_is_paid_for(
    told: Any, queries: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("scorers: {blend: {scorer: weighted, of: {nothere: 1.0}}}")
    files = ("--queries", queries, "--candidates", candidate_file(tmp_path), "--lake", "none")
    told("collect", *files, "--labels", labels).refused("'blend' reads", "'nothere'", "exact")


def test_a_cap_stops_with_everything_kept_and_a_rerun_goes_on(
    signalbox: Any, told: Any, queries: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    files = ("--queries", queries, "--candidates", candidate_file(tmp_path), "--lake", lake)
    stopped = signalbox("collect", *files, "--max-usd", "0.5")
    generated = stopped.manifest["generate"]
    rows = Lake.open(lake).read(COMPLETIONS)
    assert generated["stopped"]
    assert 0.3 < generated["spent_usd"] <= 0.5
    assert rows["cost_usd"].sum() == pytest.approx(generated["spent_usd"])
    answered = [row["done"] for row in generated["candidates"]]
    assert all(0 < done < N for done in answered)
    assert rows.height == sum(answered)
    assert stopped.manifest["label"]["rewards"]["exact"]["new"] == rows.height
    assert "stopped at --max-usd" in stopped.err
    assert f"short {N - answered[0]}" in stopped.err

    left = told("collect", *files, "--plan").manifest
    assert [row["missing"] for row in left["plan"]] == [N - done for done in answered]
    assert "its own" in left["plan"][0]["source"]

    done = signalbox("collect", *files).manifest["generate"]
    assert not done["stopped"]
    assert [row["generated"] for row in done["candidates"]] == [N - n for n in answered]
    whole = Lake.open(lake).read(COMPLETIONS)
    assert whole.select("query_id", "candidate_id").is_unique().all()
    actual = whole.filter(~pl.col("query_id").is_in(rows["query_id"].implode()))["cost_usd"].sum()
    assert left["total"]["cost_usd"] == pytest.approx(actual, rel=0.25)


def test_a_budget_runs_chosen_queries_and_keeps_how_likely_they_were(
    signalbox: Any, queries: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    files = ("--queries", queries, "--candidates", candidate_file(tmp_path), "--lake", lake)
    first = signalbox("collect", *files, "--budget", "40").manifest
    assert first["choose"]["new"] == 40
    assert [row["generated"] for row in first["generate"]["candidates"]] == [40, 40]
    outcomes = read_outcomes(Lake.open(lake), dataset="default", scorer="exact")
    labelled = outcomes.queries.filter(pl.Series(outcomes.mask.all(axis=1)))
    assert labelled.height == 40
    train = pl.col("split") == "train"
    assert labelled.filter(train)["sampling_probability"].max() < 1.0
    assert set(labelled.filter(~train)["sampling_probability"]) == {1.0}

    page, numbers = (Path(uri) for uri in first["quality"]["outputs"])
    told = json.loads(numbers.read_text())
    assert (told["queries"], told["not_chosen"]) == (40, N - 40)
    assert told["coverage"]["shares"]["missing"] == 0.0
    assert "A budget has left out 80 others" in page.read_text()

    second = signalbox("collect", *files, "--budget", "40").manifest
    assert (second["choose"]["complete"], second["choose"]["new"]) == (40, 40)
    assert [row["generated"] for row in second["generate"]["candidates"]] == [40, 40]
    assert Lake.open(lake).read(CHOICES).height == 80
