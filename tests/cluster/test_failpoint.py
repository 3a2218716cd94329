"""A failpoint kills where and when it is told to, and does nothing otherwise."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.failpoint import FILE_VARIABLE, FIRED, TRACE_VARIABLE, VARIABLE

PASSES = """
from cluster.failpoint import failpoint
for number in range(4):
    failpoint("other.place")
    failpoint("place")
    failpoint("write.before", of=f"s3://bucket/runs/{number}-0123456789abcdef.json")
    print(number, flush=True)
"""


def passes(**variables: str) -> tuple[int, int]:
    """(exit status, how often the place was passed alive) of a process of its own."""
    ours = (VARIABLE, FILE_VARIABLE, TRACE_VARIABLE)
    clean = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(
        [sys.executable, "-c", PASSES],
        env=clean | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, len(done.stdout.split())


@pytest.mark.parametrize(
    ("wanted", "alive"),
    [
        ("place", 0),
        ("place:1", 0),
        ("place:3", 2),
        ("place:9", 4),
        ("plac", 4),
        ("", 4),
        ("write.before/*-*.json:2", 1),
        ("write.before", 4),
    ],
)
def test_the_process_dies_at_the_named_place_in_the_named_turn(wanted: str, alive: int) -> None:
    status = 0 if alive == 4 else -signal.SIGKILL
    assert passes(**{VARIABLE: wanted}) == (status, alive)


def test_a_file_kills_one_process_and_its_successor_lives(tmp_path: Path) -> None:
    file = tmp_path / "failpoint"
    assert passes(**{FILE_VARIABLE: str(file)}) == (0, 4)
    file.write_text("place:2\n")
    assert passes(**{FILE_VARIABLE: str(file)}) == (-signal.SIGKILL, 1)
    assert Path(f"{file}{FIRED}").exists()
    assert passes(**{FILE_VARIABLE: str(file)}) == (0, 4)


def test_a_trace_has_every_pass_of_every_process(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for _ in range(2):
        assert passes(**{TRACE_VARIABLE: str(trace)}) == (0, 4)
    lines = [line.split(" ", 1) for line in trace.read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == 2
    assert [name for _, name in lines] == ["other.place", "place", "write.before/*-*.json"] * 8
