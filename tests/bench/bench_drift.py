"""How often drift is told where there is none, and where there is; and what looking costs.

    python tests/bench/bench_drift.py --data ../shared/data [--draws 100] [--train 2000]

Queries of RouterDC's published tables. The same mix: training queries and a file drawn from all of
them, without a common one, once a draw; the share of draws with an alarm. Another mix: the file's
tasks are drawn in reversed shares. A new task: all queries of a task that training had none of.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from cluster.drift.counts import count_shard
from cluster.drift.drift import Drift, drift
from cluster.drift.fit import fit_profile
from cluster.importers.routerdc import read

SIZES = (100, 1_000, 5_000)
SHARD = 50_000


def main() -> None:
    """Draw, judge, print."""
    arguments = parsed()
    queries = read(str(arguments.data / "RouterDC")).queries.unique("text", maintain_order=True)
    queries = queries.with_row_index("query_id").with_columns(
        pl.col("query_id").cast(pl.String), sampling_probability=pl.lit(1.0)
    )
    print(
        f"{'file':>7} {'same mix: alarms':>18} {'PSI / its mean by chance':>26} {'other mix':>11}"
    )
    for size in SIZES:
        same, other = draws(queries, size=size, train=arguments.train, draws=arguments.draws)
        ratio = np.mean([one.psi / one.psi_by_chance for one in same])
        print(f"{size:7,} {share(same):>18} {ratio:26.2f} {share(other):>11}")
    print(f"\n{'new task':15} {'PSI':>6} {'limit':>6} {'far away':>9} {'limit':>6} alarm")
    for task in sorted(queries["task"].unique()):
        found = judged(queries.filter(pl.col("task") != task), queries.filter(task=task), seed=0)
        print(
            f"{task:15} {found.psi:6.2f} {found.psi_limit:6.2f} {found.far:9.1%} "
            f"{found.far_limit:6.1%} {'yes' if found.alarms else 'no'}"
        )
    print(f"\nlooking at a shard of {SHARD:,} rows: {cost(queries):.0f} ms of a processor")


def draws(
    queries: pl.DataFrame, *, size: int, train: int, draws: int
) -> tuple[list[Drift], list[Drift]]:
    """Judgements on files of the same mix, and of another one."""
    same, other = [], []
    sizes = queries["task"].value_counts(sort=True)
    reverse = dict(zip(sizes["task"], sizes["count"].reverse(), strict=True))
    weight = queries["task"].replace_strict(reverse).to_numpy()
    weight = weight / queries["task"].replace_strict(dict(sizes.iter_rows())).to_numpy()
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(queries.height)
        learned, rest = queries[order[:train]], order[train:]
        same.append(judged(learned, queries[rest[:size]], seed=seed))
        chance = weight[rest] / weight[rest].sum()
        drawn = np.random.default_rng(seed).choice(rest, size, p=chance)
        other.append(judged(learned, queries[drawn], seed=seed))
    return same, other


def judged(train: pl.DataFrame, file: pl.DataFrame, *, seed: int) -> Drift:
    """The judgement on a file, after training on some queries."""
    profile = fit_profile(train, encoder=None, seed=seed)
    assert profile is not None, "there are enough"
    counts, _, _ = count_shard(file["text"], profile=profile, shard=str(seed))
    found = drift(counts, profile=profile)
    assert found is not None, "the file has rows"
    return found


def share(found: Sequence[Drift]) -> str:
    """How many of the files raise an alarm."""
    alarms = sum(bool(one.alarms) for one in found)
    return f"{alarms} of {len(found)}"


def cost(queries: pl.DataFrame) -> float:
    """Milliseconds of a processor to look at a shard; the least of five."""
    profile = fit_profile(queries, encoder=None, seed=0)
    assert profile is not None, "there are enough"
    texts = pl.concat([queries["text"]] * (SHARD // queries.height + 1))[:SHARD]
    spent = []
    for _ in range(5):
        start = time.process_time()
        count_shard(texts, profile=profile, shard="")
        spent.append(time.process_time() - start)
    return 1000 * min(spent)


def parsed() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--train", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
