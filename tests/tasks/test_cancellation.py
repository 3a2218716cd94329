"""A command that is told to end stops its job and leaves with 130 and a line, not a traceback."""

import os
import signal
import subprocess
import sys
import tempfile
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


def write_scores(path: Path) -> None:
    numbered = pl.DataFrame({"n": range(ROWS)})
    numbered.select(text=pl.format("query {}", "n"), a=pl.lit(1), b=pl.lit(0)).write_parquet(path)


def test_sigterm_stops_the_job_and_ends_the_command(ray_address: str, tmp_path: Path) -> None:
    table, lake = tmp_path / "scores.parquet", tmp_path / "lake"
    write_scores(table)
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


def test_ctrl_c_ends_the_command_and_the_ray_it_started(tmp_path: Path) -> None:
    """A terminal sends SIGINT to all processes of the command at once."""
    table, lake, temporary = tmp_path / "scores.parquet", tmp_path / "lake", short_folder()
    write_scores(table)
    command = [sys.executable, "-m", "flows.cli", "import", "--format", "table"]
    with subprocess.Popen(
        [*command, "--path", str(table), "--lake", str(lake)],
        env=os.environ | {"TMPDIR": temporary, "PREFECT_HOME": str(tmp_path / "prefect")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        wait_until((lake / "runs").exists, seconds=120)
        time.sleep(5)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "was stopped; what was committed is kept" in said
    # Agents beside a raylet that was killed need a minute to notice.
    wait_until(lambda: not started_in(temporary), seconds=90)


def test_ctrl_c_while_ray_starts_ends_the_command_and_ray(tmp_path: Path) -> None:
    table, temporary = tmp_path / "scores.csv", short_folder()
    table.write_text("text,a,b\none,1,0\ntwo,0,1\n")
    command = [sys.executable, "-m", "flows.cli", "import", "--format", "table"]
    with subprocess.Popen(
        [*command, "--path", str(table), "--lake", str(tmp_path / "lake")],
        env=os.environ | {"TMPDIR": temporary, "PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: started_in(temporary, name="gcs_server"), seconds=120)
        os.killpg(process.pid, signal.SIGINT)
        told, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert told == ""
    assert "was stopped; what was committed is kept" in said
    assert "Traceback" not in said
    wait_until(lambda: not started_in(temporary, name=""), seconds=90)


def test_ctrl_c_while_the_command_is_imported_ends_it_with_a_line(tmp_path: Path) -> None:
    """In place of Prefect stands a module whose import says so and takes long."""
    (tmp_path / "prefect.py").write_text(
        'import time\nprint("here", flush=True)\ntime.sleep(300)\n'
    )
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "upkeep", "--lake", str(tmp_path / "lake")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert told == ""
    assert said == "upkeep was stopped; what was committed is kept, run it again to go on\n"


def short_folder() -> str:
    """Ray's sockets lie below it, and a socket's path has at most 107 bytes."""
    return tempfile.mkdtemp(prefix="sb", dir="/tmp")


def started_in(folder: str, *, name: str = "raylet") -> list[str]:
    """Command lines of Ray's processes that keep their files in a folder."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if folder in line and name in line]
