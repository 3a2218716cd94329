"""What planning and committing cost as a lake grows: 0.1, 1 and 10 million completions.

    python tests/bench/bench_plan.py [--millions 0.1,1,10] [--folder FOLDER] [--json FILE]

Seven candidates, a sample a query, answers of about 200 bytes, 1 % of them missing, in shards of
1,024 rows as `collect` writes them. Each step runs in a process of its own, on the lake as the
writers left it and again after `signalbox upkeep` has compacted it:

    plan      what the generate job does before it asks anybody: queries, then for each candidate
              what is required, staged and committed
    estimate  `collect --plan`: what is missing and what it will come to
    commit    one more shard of 1,024 answers, by the commit rule
    rewards   1,024 more rewards beside those of all completions

Seconds are the clock's and the processors', memory is the process's peak resident set with Python
and its libraries, growth is against the size before.
"""

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from cluster.candidate import Candidate
from cluster.completion import COMPLETION_SCHEMA
from cluster.jobs.asked import Requests
from cluster.lake.commit import append_new, commit_on_handle, commit_shards
from cluster.lake.compaction import compact
from cluster.lake.estimate import dataset_queries, estimate
from cluster.lake.lake import Lake
from cluster.lake.plan import plan_candidate, required_samples
from cluster.lake.shard import Shard, write_shard
from cluster.lake.tables import COMPLETIONS, QUERIES, REWARDS, TABLES

DATASET = "bench"
CANDIDATES = tuple(Candidate(name=f"c{n}", engine="echo", model=f"m{n}") for n in range(7))
SHARD_ROWS = 1024
FILES_A_COMMIT = 200
MISSING = 0.01
STEPS = ("plan", "estimate", "commit", "rewards")
WORDS = " ".join(random.Random(0).choices([f"word{n}" for n in range(5000)], k=200_000))


def query_ids(n: int, *, first: int = 0) -> pl.Series:
    ids = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(first, first + n)]
    return pl.Series("query_id", ids)


def texts(n: int, *, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [WORDS[start : start + 200] for start in draw.choices(range(len(WORDS) - 200), k=n)]


def answers(ids: pl.Series, *, candidate_id: str, seed: int) -> pl.DataFrame:
    given = pl.DataFrame({"query_id": ids, "text": texts(len(ids), seed=seed)}).with_columns(
        candidate_id=pl.lit(candidate_id),
        sample=pl.lit(0),
        finish_reason=pl.lit("stop"),
        prompt_tokens=pl.lit(60),
        completion_tokens=pl.lit(50),
        seconds=pl.lit(0.1),
        outcome=pl.lit("ok"),
    )
    null = [pl.lit(None).alias(name) for name in COMPLETION_SCHEMA if name not in given.columns]
    return given.with_columns(null)


def rewards(ids: pl.Series, *, candidate_id: str) -> pl.DataFrame:
    return pl.DataFrame({"query_id": ids}).with_columns(
        candidate_id=pl.lit(candidate_id),
        sample=pl.lit(0, dtype=pl.Int32),
        scorer_id=pl.lit("s" * 64),
        value=pl.lit(1.0),
        weight=pl.lit(1.0),
        raw=pl.lit(1.0),
        reason=pl.lit(None, dtype=pl.String),
    )


def make_lake(folder: Path, *, completions: int) -> None:
    """A lake as the writers leave it: every shard a file."""
    lake = Lake.open(str(folder))
    ids = query_ids(round(completions / len(CANDIDATES)))
    for start in range(0, len(ids), 100_000):
        part = ids[start : start + 100_000]
        rows = pl.DataFrame({"query_id": part, "text": texts(len(part), seed=start)})
        append_new(rows.with_columns(dataset=pl.lit(DATASET)), lake=lake, table=QUERIES)
    for number, candidate in enumerate(CANDIDATES):
        own = ids[: len(ids) - round(len(ids) * MISSING)]
        for shards in _shards(own, lake=lake, candidate_id=candidate.candidate_id, seed=number):
            scope = f"completions/{candidate.candidate_id}"
            commit_on_handle(lambda _, s=shards: s, lake=lake, table=COMPLETIONS, scope=scope)
        scored = rewards(own, candidate_id=candidate.candidate_id)
        shards = [
            write_shard(part, lake=lake, table=REWARDS, name=f"rows-{number}-{place}.parquet")
            for place, part in enumerate(scored.iter_slices(50_000))
        ]
        commit_on_handle(lambda _, s=shards: s, lake=lake, table=REWARDS, scope="rewards/all")


def _shards(ids: pl.Series, *, lake: Lake, candidate_id: str, seed: int) -> Iterator[list[Shard]]:
    block = SHARD_ROWS * FILES_A_COMMIT
    for start in range(0, len(ids), block):
        part = ids[start : start + block]
        rows = answers(part, candidate_id=candidate_id, seed=seed + start)
        yield [
            write_shard(one, lake=lake, table=COMPLETIONS, partition=candidate_id)
            for one in rows.iter_slices(SHARD_ROWS)
        ]


def plan(lake: Lake) -> str:
    requests = Requests.of_dataset(DATASET, lake=lake, version=lake.version(QUERIES))
    missing = 0
    for candidate in CANDIDATES:
        for part in requests.of(candidate.candidate_id):
            required = required_samples(part["query_id"], samples=1)
            left = plan_candidate(required, lake=lake, candidate_id=candidate.candidate_id)
            missing += left.missing.height
    return f"{missing:,} missing"


def plan_estimate(lake: Lake) -> str:
    queries, _ = dataset_queries(lake, dataset=DATASET)
    found = estimate(queries, candidates=CANDIDATES, lake=lake)
    return f"{sum(one.missing for one in found):,} missing"


def commit(lake: Lake) -> str:
    own = CANDIDATES[0].candidate_id
    fresh = query_ids(SHARD_ROWS, first=10**9 + lake.version(COMPLETIONS) * SHARD_ROWS)
    rows = answers(fresh, candidate_id=own, seed=1)
    shard = write_shard(rows, lake=lake, table=COMPLETIONS, partition=own)
    return f"{len(commit_shards([shard], lake=lake, table=COMPLETIONS))} shard"


def append_rewards(lake: Lake) -> str:
    fresh = query_ids(SHARD_ROWS, first=10**9 + lake.version(REWARDS) * SHARD_ROWS)
    rows = rewards(fresh, candidate_id=CANDIDATES[0].candidate_id)
    return f"{append_new(rows, lake=lake, table=REWARDS):,} rows"


DO: dict[str, Callable[[Lake], str]] = dict(
    zip(STEPS, (plan, plan_estimate, commit, append_rewards), strict=True)
)


def step(name: str, *, folder: str) -> None:
    """One step in this process, told as a line of JSON."""
    lake = Lake.open(folder)
    start = time.perf_counter()
    told = DO[name](lake)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - start,
                "processor_seconds": used.ru_utime + used.ru_stime,
                "peak_mib": used.ru_maxrss / 1024,
                "told": told,
            }
        )
    )


def measured(name: str, *, folder: Path) -> dict[str, float | str]:
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def bench(folder: Path, *, millions: list[float]) -> list[dict[str, float | str]]:
    rows: list[dict[str, float | str]] = []
    for size in millions:
        place = folder / f"lake-{size:g}"
        if not place.exists():
            make_lake(place, completions=round(size * 1e6))
        for state in ("as written", "compacted"):
            if state == "compacted":
                _compact(place)
            files = Lake.open(str(place)).handle(COMPLETIONS).get_add_actions().num_rows
            for name in STEPS:
                row = {"millions": size, "lake": state, "files": files, "step": name}
                rows.append(row | measured(name, folder=place))
                _say(rows)
    return rows


def _compact(place: Path) -> None:
    lake = Lake.open(str(place))
    start = time.perf_counter()
    for table in TABLES.values():
        if lake.storage.list(f"{lake.table_uri(table)}/_delta_log"):
            compact(lake, table=table)
    print(f"compacted in {time.perf_counter() - start:.1f} s", flush=True)


def _say(rows: list[dict[str, float | str]]) -> None:
    """The newest row, with its growth against the same step on the lake before."""
    row = rows[-1]
    same = [one for one in rows[:-1] if (one["lake"], one["step"]) == (row["lake"], row["step"])]
    growth = f"x{float(row['seconds']) / float(same[-1]['seconds']):.1f}" if same else ""
    print(
        f"{row['millions']:>5} M {row['lake']:<10} {row['files']:>6} files {row['step']:<9} "
        f"{row['seconds']:7.2f} s {row['processor_seconds']:7.2f} processor s "
        f"{row['peak_mib']:6.0f} MiB {growth:>6}  {row['told']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", default="0.1,1,10")
    parser.add_argument("--folder", default="")
    parser.add_argument("--json", default="")
    parser.add_argument("--step", default="", choices=("", *STEPS))
    given = parser.parse_args()
    if given.step:
        step(given.step, folder=given.folder)
        return
    with TemporaryDirectory() as scratch:
        folder = Path(given.folder or scratch)
        rows = bench(folder, millions=[float(one) for one in given.millions.split(",")])
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
