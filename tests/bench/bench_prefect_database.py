"""Task runs that are running at once, on Prefect servers on PostgreSQL and on SQLite.

    python tests/bench/bench_prefect_database.py [--counts 50,200] [--rounds 3]

For each number of task runs and each database, in turn: seconds until all have come back, seconds
until the server knows that all have ended, how many it has lost, and how often its log and the
client's speak of a locked database or of a failed request. PostgreSQL is the machine's own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.postgres.conftest import database
from tests.prefect_server import prefect_server

SCRIPT = Path(__file__).parents[1] / "postgres" / "many_tasks.py"
LOCKED, FAILED = "database is locked", "500 Internal Server Error"


def measured(count: int, *, url: str) -> dict[str, Any]:
    """One flow of so many task runs on a fresh server."""
    with tempfile.TemporaryDirectory(prefix="signalbox-prefect-") as folder:
        with prefect_server(Path(folder), url=url) as env:
            done = subprocess.run(
                [sys.executable, SCRIPT, str(count)],
                env=os.environ | env,
                capture_output=True,
                text=True,
                check=False,
            )
        log = (Path(folder) / "log").read_text() + done.stderr
    told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"states": {}}
    return told | {
        "lost": count - told["states"].get("COMPLETED", 0),
        "locked": log.count(LOCKED),
        "failed": log.count(FAILED),
    }


def on_database(name: str, *, count: int) -> dict[str, Any]:
    """The same on a database of its own."""
    if name == "sqlite":
        return measured(count, url="")
    with (
        tempfile.TemporaryDirectory(prefix="signalbox-postgres-") as folder,
        database(Path(folder)) as url,
    ):
        return measured(count, url=url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="50,200")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("| task runs | database | seconds | until recorded | lost | locked | failed |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for count in map(int, given.counts.split(",")):
        rounds = [
            {name: on_database(name, count=count) for name in ("postgresql", "sqlite")}
            for _ in range(given.rounds)
        ]
        for name in ("postgresql", "sqlite"):
            seen = [one[name] for one in rounds]
            times = [[one.get(key, float("nan")) for one in seen] for key in TIMES]
            seconds = " | ".join(f"{statistics.median(values):.1f}" for values in times)
            lost = " | ".join(str(sum(one[key] for one in seen)) for key in SUMS)
            print(f"| {count} | {name} | {seconds} | {lost} |", flush=True)


TIMES = ("seconds", "recorded_seconds")
SUMS = ("lost", "locked", "failed")


if __name__ == "__main__":
    main()
