"""A command that is told to end stops its job and leaves with 130 and a line, not a traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

ROWS = 1_500_000


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


def statuses(address: str, *, lake: Path) -> list[str]:
    """Status of the jobs that work on a lake."""
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(address).list_jobs()
    return [str(job.status.value) for job in jobs if str(lake) in job.entrypoint]


def test_sigterm_stops_the_job_and_ends_the_command(ray_address: str, tmp_path: Path) -> None:
    table, lake = tmp_path / "scores.parquet", tmp_path / "lake"
    numbered = pl.DataFrame({"n": range(ROWS)})
    numbered.select(text=pl.format("query {}", "n"), a=pl.lit(1), b=pl.lit(0)).write_parquet(table)
    command = [sys.executable, "-m", "flows.cli", "import", "--format", "table"]
    home = {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    with subprocess.Popen(
        [*command, "--path", str(table), "--lake", str(lake), "--ray-address", ray_address],
        env=os.environ | home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: "RUNNING" in statuses(ray_address, lake=lake), seconds=120)
        process.send_signal(signal.SIGTERM)
        told, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert told == ""
    assert "Traceback" not in said
    assert "import was stopped; what was committed is kept" in said
    assert statuses(ray_address, lake=lake) == ["STOPPED"]
