"""Leases: one holder at a time, a dead holder's lease is free at once, and a store may fail."""

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.errors import LakeError
from cluster.lake import lease as lease_module
from cluster.lake.lake import Lake
from cluster.lake.lease import lease
from cluster.storage import Storage


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


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def numbers(lake: Lake) -> list[int]:
    found = lake.storage.list(lake.storage.join("leases", "c"))
    return [int(uri.rsplit("/", 1)[-1].removesuffix(".json")) for uri, _ in found]


def entry(lake: Lake) -> dict:
    """The newest; of those before it, one at most is left over."""
    found = lake.storage.list(lake.storage.join("leases", "c"))
    assert len(found) <= 2
    return json.loads(lake.storage.read_bytes(found[-1][0]))


def refuses(check: Callable[[], None], *, match: str) -> bool:
    try:
        check()
    except LakeError as error:
        return match in str(error)
    return False


class Away:
    """A store that refuses the renewals of the lease taken first, while `now` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = threading.Event()
        self.refused = 0
        self.victim: threading.Thread | None = None
        write_new = Storage.write_new

        def write(storage: Storage, uri: str, data: bytes) -> None:
            if threading.current_thread().name == "lease-c":
                self.victim = self.victim or threading.current_thread()
            if self.now.is_set() and threading.current_thread() is self.victim:
                self.refused += 1
                raise ConnectionError("the store is away")
            write_new(storage, uri, data)

        monkeypatch.setattr(Storage, "write_new", write)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.01)
    return monkeypatch


def test_renewal_goes_on_after_the_store_was_away(tmp_path, quick) -> None:
    lake, away = Lake.open(tmp_path / "lake"), Away(quick)
    with lease("c", lake=lake) as check:
        until(lambda: max(numbers(lake)) > 2)
        away.now.set()
        until(lambda: away.refused > 2)
        before = max(numbers(lake))
        away.now.clear()
        until(lambda: max(numbers(lake)) > before + 2)
        check()
    assert entry(lake)["released"]


def test_a_lease_not_renewed_for_long_is_in_doubt_until_it_is_renewed(tmp_path, quick) -> None:
    quick.setattr(lease_module, "STALE_SECONDS", 0.3)
    lake, away = Lake.open(tmp_path / "lake"), Away(quick)
    with lease("c", lake=lake) as check:
        until(lambda: max(numbers(lake)) > 2)
        away.now.set()
        until(lambda: refuses(check, match="the store is away), so another run may have it"))
        away.now.clear()
        until(lambda: not refuses(check, match=""))
    assert entry(lake)["released"]


def test_another_takes_over_what_is_not_renewed_and_keeps_it(tmp_path, quick) -> None:
    quick.setattr(lease_module, "STALE_SECONDS", 1.0)
    lake, away = Lake.open(tmp_path / "lake"), Away(quick)
    with lease("c", lake=lake) as check:
        until(lambda: max(numbers(lake)) > 2)
        away.now.set()
        with lease("c", lake=lake) as others:
            away.now.clear()
            until(lambda: refuses(check, match="lost to another run"))
            until(lambda: not refuses(others, match=""))
    assert entry(lake)["released"]


def test_who_stood_still_while_others_went_by_two_has_lost_it(root: str, quick) -> None:
    quick.setattr(lease_module, "RENEW_SECONDS", 1.0)
    lake = Lake.open(root)
    with lease("c", lake=lake) as check:
        theirs = lake.storage.join("leases", "c", f"{7:012d}.json")
        lake.storage.write_new(theirs, b"{}")
        until(lambda: refuses(check, match="lost to another run"))
        assert max(numbers(lake)) == 7
        assert 2 not in numbers(lake)


@pytest.mark.parametrize("told", [FileExistsError, TimeoutError])
def test_a_number_whose_acknowledgement_was_lost_is_ours(root: str, quick, told) -> None:
    lake, write_new = Lake.open(root), Storage.write_new

    def write(storage: Storage, uri: str, data: bytes) -> None:
        write_new(storage, uri, data)
        raise told("it went through the first time")

    with lease("c", lake=lake) as check:
        quick.setattr(Storage, "write_new", write)
        before = max(numbers(lake))
        until(lambda: max(numbers(lake)) > before + 3)
        check()
    assert entry(lake)["released"]
