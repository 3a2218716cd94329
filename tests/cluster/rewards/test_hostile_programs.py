"""Programs that attack what runs them: none gets out, none hangs, none passes.

All run in one batch, as a collection's answers do; what they may have done is looked for from
outside. `make hostile-table` prints what became of each.
"""

import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil
import pytest
import yaml

from cluster.candidate import Resources
from cluster.errors import EngineError
from cluster.rewards.code import Code
from cluster.rewards.sandbox.isolation import FIRST_USER, USERS

PROGRAMS = yaml.safe_load(Path(__file__).with_name("hostile_programs.yaml").read_text("utf-8"))
NAMES = [program["name"] for program in PROGRAMS]
SECRET = "kept-on-the-machine-5d1c"
HONEST = {"name": "honest", "program": "def f(a, b):\n    return a + b"}


@dataclass
class Outside:
    """What a program is not to reach: a folder with a secret, and who listens."""

    folder: Path
    tcp: socket.socket
    udp: socket.socket
    unix: socket.socket

    def filled(self, program: str) -> str:
        words = {
            "PORT": self.tcp.getsockname()[1],
            "SOCKET": self.folder / "socket",
            "FOLDER": self.folder,
            "SECRET": self.folder / "secret",
            "PROCESS": os.getpid(),
            "NESTED": "(" * 50_000 + "f" + ")" * 50_000,
        }
        for word, value in words.items():
            program = program.replace(f"@{word}@", str(value))
        return program

    def heard(self) -> list[socket.socket]:
        """Listeners that somebody has reached."""
        reached = []
        for listener in (self.tcp, self.udp, self.unix):
            try:
                listener.recv(1) if listener is self.udp else listener.accept()
                reached.append(listener)
            except BlockingIOError:
                continue
        return reached


@contextmanager
def listening(folder: Path) -> Iterator[Outside]:
    """Make a folder what programs are to stay out of."""
    folder.chmod(0o777)
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        udp.bind(tcp.getsockname())
        unix.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        unix.listen()
        for listener in (tcp, udp, unix):
            listener.setblocking(False)
        yield Outside(folder, tcp, udp, unix)


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    # A folder of pytest's own is closed to other users already by the folders above it.
    with tempfile.TemporaryDirectory() as folder, listening(Path(folder)) as outside:
        yield outside


def table(programs: list[dict], outside: Outside) -> pl.DataFrame:
    rows = []
    for program in programs:
        test = program.get("test", "assert f(20, 22) == 42")
        task = {"inputs": ["20 22\n"], "outputs": ["42\n"]}
        task = task if program.get("form") == "output" else {"tests": [test]}
        rows.append(("q", outside.filled(program["program"]), json.dumps(task)))
    return pl.DataFrame(rows, schema=["query", "text", "reference"], orient="row")


def rated(outside: Outside) -> dict[str, dict]:
    """What became of each program; an honest one comes before and behind them."""
    programs = [HONEST, *PROGRAMS, HONEST]
    scorer = Code(seconds=1.5, memory_mb=256, disk_mb=16, resources=Resources(cpus=3))
    rows = scorer.rate(table(programs, outside)).ratings.rows(named=True)
    return dict(zip([program["name"] for program in programs], rows, strict=True))


@pytest.fixture(scope="module")
def ratings(outside) -> dict[str, dict]:
    try:
        return rated(outside)
    except EngineError as error:
        pytest.skip(f"no sandbox on this machine: {error}")


def test_there_are_many_and_each_has_a_name():
    assert len(NAMES) == len(set(NAMES)) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_it_gets_nothing_and_a_reason(name, ratings):
    assert ratings[name]["value"] == 0.0
    assert ratings[name]["raw"] == 0.0
    assert ratings[name]["reason"]
    assert SECRET not in ratings[name]["reason"]
    assert "root:" not in ratings[name]["reason"]


def test_an_honest_program_among_them_passes(ratings):
    assert ratings["honest"]["value"] == 1.0


def test_nobody_outside_has_noticed_anything(ratings, outside):
    assert outside.heard() == []
    assert sorted(path.name for path in outside.folder.iterdir()) == ["secret", "socket"]
    assert (outside.folder / "secret").read_text(encoding="utf-8") == SECRET
    assert socket.gethostname() != "taken"


def test_no_process_is_left(ratings):
    ours = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert [line for line in ours if "guest.warden" in " ".join(line)] == []
    users = range(FIRST_USER, FIRST_USER + USERS)
    left = [p for p in psutil.process_iter(["uids"]) if p.info["uids"].real in users]
    assert left == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("memory of many processes", "memory limit of 256 MB"),
        ("endless output", "output limit of 1024 KB"),
        ("endless loop", "time limit of 1.5 s"),
        ("ignored signals", "time limit of 1.5 s"),
        ("a file of the machine", "FileNotFoundError"),
        ("passwords", "FileNotFoundError"),
        ("disk fill", "No space left|File too large"),
        ("Unix socket", "PermissionError"),
        ("other programs", "PermissionError"),
        ("leave at once", "its process ended"),
        ("always equal", "AssertionError"),
        ("own built-ins", "AssertionError"),
        ("forged reply", "TypeError|AssertionError"),
    ],
)
def test_the_reason_says_what_stopped_it(name, reason, ratings):
    assert re.search(f"{reason}|time limit", ratings[name]["reason"]), ratings[name]["reason"]
