"""Waiting jobs: routed with every new champion, one by one, and nothing of others is replaced."""

from pathlib import Path
from typing import Any

import polars as pl


def write_job(folder: Path, name: str, *, table: Path, output: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"input: {table}\noutput: {output}\ntext-column: text\n")


def test_jobs_are_routed_anew_with_a_new_champion(
    toy: Any, signalbox: Any, told: Any, tmp_path: Path
) -> None:
    jobs, good, foreign = (tmp_path / name for name in ("jobs", "good.parquet", "foreign.csv"))
    foreign.write_text("somebody's own\n")
    write_job(jobs, "a.yaml", table=toy.table, output=foreign)
    write_job(jobs, "b.yaml", table=toy.table, output=good)
    waiting = ("route-waiting", "--jobs", jobs, "--lake", toy.lake)
    signalbox(*waiting).refused("1 of 2 waiting jobs failed", "a.yaml", "is there already")
    first = toy.trained["promotion"]["version"]
    assert pl.read_parquet(good)["router"].unique().to_list() == [first]
    assert foreign.read_text() == "somebody's own\n"

    (jobs / "a.yaml").unlink()
    [other] = [one["version"] for one in toy.trained["routers"] if one["version"] != first]
    told("registry", "promote", "--router", other, "--lake", toy.lake)
    [row] = signalbox(*waiting).manifest["jobs"]
    told("registry", "rollback", "--lake", toy.lake)
    assert (row["state"], row["router"], row["rows"]) == ("routed", other, 300)
    assert pl.read_parquet(good)["router"].unique().to_list() == [other]


def test_a_broken_job_is_named_before_anything_is_started(
    toy: Any, told: Any, tmp_path: Path
) -> None:
    jobs = tmp_path / "jobs"
    write_job(jobs, "job.yaml", table=toy.table, output=tmp_path / "out.parquet")
    waiting = ("route-waiting", "--jobs", jobs, "--lake", toy.lake)
    for line, words in (
        ("polcy: utility", "unknown field 'polcy'; did you mean 'policy'?"),
        ("lake: /elsewhere", "field 'lake' is /elsewhere"),
        ("a: [", "broken YAML"),
    ):
        (jobs / "broken.yaml").write_text(f"input: {toy.table}\noutput: out.parquet\n{line}\n")
        told(*waiting).refused("broken.yaml", words)


def test_where_there_is_no_lake_nothing_waits(told: Any, tmp_path: Path) -> None:
    told("route-waiting", "--lake", tmp_path / "lake").refused("there is no lake here")
