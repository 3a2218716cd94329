"""Leases: one holder at a time, and a dead holder's lease is free at once."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.lake import lease as lease_module
from cluster.lake.lake import Lake
from cluster.lake.lease import lease


def test_only_one_holds_it_at_a_time(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.01)
    lake = Lake.open(root)
    inside, most = 0, 0
    guard = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with lease("c", lake=Lake.open(root)):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with guard:
                inside -= 1

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    assert most == 1
    with lease("c", lake=lake):
        pass


def _hold_and_die(root: str, held: "multiprocessing.synchronize.Event") -> None:
    with lease("c", lake=Lake.open(root)):
        held.set()
        time.sleep(60)


def test_a_killed_holder_on_this_machine_loses_it_at_once(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "lake")
    lake = Lake.open(root)
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold_and_die, args=(root, held))
    process.start()
    assert held.wait(30)
    process.kill()
    process.join()
    waited: list[str] = []
    with lease("c", lake=lake, waiting=waited.append):
        assert waited == []


def test_a_lease_that_another_took_is_reported_lost(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.05)
    lake = Lake.open(root)
    with lease("c", lake=lake) as check:
        check()
        lake.storage.write(lake.storage.join("leases", "c", f"{999:012d}.json"), b"{}")
        for number in range(2, 60):
            lake.storage.write(lake.storage.join("leases", "c", f"{number:012d}.json"), b"{}")
        time.sleep(0.5)
        with pytest.raises(Exception, match="lost to another run"):
            check()
