"""What was routed comes back: queries into the lake, and users' verdicts on the answers."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES, REWARDS

DEMO_MODEL = Path(__file__).parents[2] / "infra" / "demo" / "models" / "abacus"
CANDIDATE = f"- {{name: one, engine: transformers, model: {DEMO_MODEL}, dtype: float32}}\n"


def test_routed_queries_come_back_and_verdicts_on_them(
    toy: Any, signalbox: Any, told: Any, tmp_path: Path
) -> None:
    """A file is routed, a sample of it can be collected next, and thumbs on it are rewards."""
    rows = [{"text": f"what is {n} plus {n + 1}?", "task": "sum"} for n in range(400)]
    asked, output = tmp_path / "asked.jsonl", tmp_path / "routed.parquet"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--input", asked, "--output", output, "--feedback", "0.3")
    # Of its own: other tests count what is in the toy's.
    folder = Path(shutil.copytree(toy.lake, tmp_path / "lake"))
    lake = ("--lake", folder)
    result = signalbox("route", *words, "--feedback-dataset", "asked", *lake)
    manifest = result.manifest
    back = manifest["feedback"]
    assert manifest["drift"]["sampled"] == 400
    assert 0 < back["new"] == back["drawn"] < 200
    assert manifest["report"] in result.err
    assert Path(manifest["report"]).read_text().startswith("<!doctype html>")
    kept = Lake.open(folder).read(QUERIES).filter(pl.col("dataset") == "asked")
    assert kept.height == back["new"]
    assert set(kept["split"]) == {"train"}

    candidates = tmp_path / "candidates.yaml"
    candidates.write_text(CANDIDATE)
    plan = ("collect", "--candidates", candidates, "--dataset", "asked", "--plan", *lake)
    assert told(*plan).manifest["plan"][0]["missing"] == back["new"]

    judged = pl.read_parquet(output).with_columns(thumb=pl.lit("up"))
    judged.write_parquet(tmp_path / "judged.parquet")
    verdicts = signalbox(
        "import", "--format", "verdicts", "--path", tmp_path / "judged.parquet", *lake
    ).manifest
    assert verdicts["verdicts"] == back["new"]
    assert verdicts["broken"] == 400 - back["new"]
    rewards = Lake.open(folder).read(REWARDS).join(kept, on="query_id", how="semi")
    assert rewards["value"].to_list() == [1.0] * back["new"]


def test_nothing_to_collect_without_files_and_without_such_a_dataset(
    told: Any, tmp_path: Path
) -> None:
    candidates = tmp_path / "candidates.yaml"
    candidates.write_text(CANDIDATE)
    words = ("collect", "--candidates", candidates, "--lake", tmp_path / "none")
    told(*words).refused("dataset 'default' has no query in the lake", "--queries")
    assert not (tmp_path / "none").exists()


def test_verdicts_are_on_queries_whose_split_is_known(told: Any, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("text,candidate,thumb\nx,a,up\n")
    words = ("import", "--format", "verdicts", "--path", tmp_path / "v.csv", "--split", "test")
    told(*words, "--lake", tmp_path / "lake").refused("--split and --calibration")
