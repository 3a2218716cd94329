"""What listens where: nothing here is reachable from another machine unless it was told to be."""

import ipaddress
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

END_SECONDS = 120
TRAINING = Path(__file__).parents[1] / "cluster" / "training" / "train_on_ray.py"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """A living `signalbox up`."""
    folder = tmp_path_factory.mktemp("up")
    command = [sys.executable, "-m", "flows.cli", "up", "--port", "0", "--lake", folder / "lake"]
    process = subprocess.Popen(
        command, env=os.environ | own(folder), stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert process.stderr is not None
    try:
        assert any("up after" in line for line in process.stderr), "it did not come up"
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=END_SECONDS)


def own(folder: Path) -> dict[str, str]:
    """Variables of an `up` that shares nothing with another."""
    return {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def listening(pid: int) -> Iterator[tuple[str, str, int]]:
    """(program, address, port) of everything a process and those below it listen on."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            sockets = process.net_connections("inet")
            name = process.name()
        except psutil.NoSuchProcess:
            continue
        for one in sockets:
            if one.status == psutil.CONN_LISTEN:
                yield name, one.laddr.ip, one.laddr.port


def is_loopback(address: str) -> bool:
    given = ipaddress.ip_address(address)
    mapped = given.ipv4_mapped if isinstance(given, ipaddress.IPv6Address) else None
    return (mapped or given).is_loopback


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False),
     ("::", False), ("192.0.2.1", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_all_of_up_listens_on_loopback_alone(up: "subprocess.Popen[str]") -> None:
    seen: set[tuple[str, str, int]] = set()
    # Ray's agents and workers come up one after another.
    for _ in range(10):
        seen |= set(listening(up.pid))
        time.sleep(0.3)
    programs = {name for name, _, _ in seen}
    assert {"raylet", "gcs_server"} <= programs
    assert any("python" in name or "prefect" in name for name in programs)
    assert [one for one in seen if not is_loopback(one[1])] == []


@pytest.mark.slow
def test_workers_of_a_training_listen_on_loopback_alone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, TRAINING, tmp_path, "two"])
    seen: set[tuple[str, str, int]] = set()
    while process.poll() is None:
        seen |= set(listening(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0
    assert any("RayTrainWorker" in name for name, _, _ in seen)
    assert [one for one in seen if not is_loopback(one[1])] == []
