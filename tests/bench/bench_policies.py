"""What a look at the whole file costs, and how near the budget it comes.

    python tests/bench/bench_policies.py [--rows 1000000] [--candidates 4]

Predictions lie on disk in shards of 50,000 rows, as the route job keeps them, and each pass reads
them again. Printed for several budgets and shares: passes, seconds, what is spent of the budget,
and the reward against the bound that the linear program's dual has at the same lambda, which no
choice within the budget can exceed. `tied` is a router that knows ten kinds of query and a price a
call.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cluster.policies import load_policy
from cluster.policies.budget import Budget
from cluster.policies.policy import Scored
from cluster.routers.router import Prediction

SHARD = 50_000


class Stored:
    """Predictions of a file, in shards on disk; counts the passes over them."""

    def __init__(self, folder: Path, *, rows: int, candidates: int, tied: bool) -> None:
        self.folder, self.passes = folder, 0
        prices = np.geomspace(1, 30, candidates) * 1e-5
        kinds = np.random.default_rng(7).random((10, candidates))
        for start in range(0, rows, SHARD):
            rng = np.random.default_rng([3, start])
            n = min(SHARD, rows - start)
            reward = kinds[rng.integers(0, 10, n)] if tied else rng.random((n, candidates))
            length = np.ones((n, 1)) if tied else rng.lognormal(size=(n, 1))
            numbers = rng.integers(0, 1 << 63, n).astype(np.uint64)
            np.savez(folder / f"{start:012d}.npz", reward=reward, cost=length * prices, n=numbers)

    def __call__(self) -> Iterator[Scored]:
        self.passes += 1
        for file in sorted(self.folder.glob("*.npz")):
            with np.load(file, allow_pickle=False) as found:
                prediction = Prediction(found["reward"], found["reward"])
                yield Scored(prediction, found["n"], found["cost"])


def measure(stored: Stored, *, policy: str, setting: str, value: float, label: str) -> None:
    """One line of the table."""
    stored.passes, start = 0, time.monotonic()
    settled = load_policy(policy, settings={setting: value}).settle(stored)
    words = f"{label:28} passes {stored.passes}  {time.monotonic() - start:6.1f} s"
    if isinstance(settled, Budget):
        assert settled.budget_usd is not None
        assert settled.expected_usd is not None
        spent = settled.expected_usd / settled.budget_usd
        reward, most = gained(stored, policy=settled)
        words += f"  spent {100 * spent:8.4f} %  reward {100 * reward / most:9.5f} % of the bound"
    print(words)


def gained(stored: Stored, *, policy: Budget) -> tuple[float, float]:
    """The sum of rewards, and Lagrange's bound: max(reward − lambda · cost) + lambda · budget."""
    assert policy.lambda_usd is not None
    assert policy.budget_usd is not None
    reward, most = 0.0, policy.lambda_usd * policy.budget_usd
    for rows in stored():
        assert rows.cost is not None
        values = rows.prediction.reward
        chosen = policy.columns(rows)
        reward += float(values[np.arange(len(values)), chosen].sum())
        most += float((values - policy.lambda_usd * rows.cost).max(axis=1).sum())
    return reward, most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--candidates", type=int, default=4)
    given = parser.parse_args()
    for tied in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            stored = Stored(Path(folder), rows=given.rows, candidates=given.candidates, tied=tied)
            name = "tied" if tied else "spread"
            for usd in (0.03, 0.06, 0.12):
                label = f"{name}, {usd} USD per 1,000"
                measure(stored, policy="budget", setting="usd_per_1000", value=usd, label=label)
    with tempfile.TemporaryDirectory() as folder:
        stored = Stored(Path(folder), rows=given.rows, candidates=2, tied=True)
        measure(stored, policy="threshold", setting="strong_share", value=0.3, label="tied, 30 %")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.rows} rows, {given.candidates} candidates; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
