"""Pools run beside each other as far as the GPUs go, the largest first."""

import threading
import time

import pytest

from cluster.candidate import Candidate
from cluster.jobs import pools as running
from cluster.packing import Pool


def pool(name: str, gpus: float, replicas: int = 1) -> Pool:
    return Pool((Candidate(name=name, engine="vllm", model="m"),), gpus, replicas)


class Watch:
    """Who runs at once, as seen from inside the work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: list[Pool] = []
        self.started: list[str] = []
        self.most = 0.0

    def work(self, one: Pool) -> str:
        name = one.candidates[0].name
        with self.lock:
            self.now.append(one)
            self.started.append(name)
            self.most = max(self.most, sum(pool.gpus * pool.replicas for pool in self.now))
        time.sleep(0.05)
        with self.lock:
            self.now.remove(one)
        return name


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_gpus", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_never_more_than_the_gpus_there_are_and_results_in_order() -> None:
    watch = Watch()
    wanted = [pool("both", 2), pool("a", 1), pool("b", 1), pool("c", 0.5), pool("d", 0.5)]
    assert running.run_pools(wanted, work=watch.work) == ["both", "a", "b", "c", "d"]
    assert watch.most <= 2
    assert watch.started[0] == "both"


@pytest.mark.usefixtures("two_gpus")
def test_what_fits_on_no_gpu_here_runs_all_the_same() -> None:
    watch = Watch()
    assert running.run_pools([pool("eight", 8), pool("cpu", 0)], work=watch.work) == [
        "eight",
        "cpu",
    ]


@pytest.mark.usefixtures("two_gpus")
def test_what_runs_beside_what_is_told_first(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        running.run_pools([pool("both", 2), pool("one", 1)], work=lambda one: None)
    assert "turn 1 of 2, both: 1 × 2 GPUs (tensor parallel)" in caplog.text
    assert "turn 2 of 2, one: 1 × 1 GPU" in caplog.text


@pytest.mark.usefixtures("two_gpus")
def test_a_pool_that_fails_fails_the_run() -> None:
    def work(one: Pool) -> None:
        raise ValueError(one.candidates[0].name)

    with pytest.raises(ValueError, match="a"):
        running.run_pools([pool("a", 1), pool("b", 2)], work=work)
