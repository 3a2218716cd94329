"""Real SIGKILLs of real processes while real vLLM generates, and an undisturbed lake beside it.

The flow with its own Ray, then the job's driver, then the worker: each at a moment when some of
the answers are written and some are not.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from cluster.candidate import load_candidates

DEMO = Path(__file__).parents[2] / "infra" / "demo"
SHARD_ROWS = 16
QUERIES, SAMPLES = 400, 2
# Sampled and long: the texts depend on the seeds, and the run lasts long enough to be hit.
CANDIDATES = [
    {
        "name": name,
        "engine": "vllm",
        "model": str(DEMO / "models" / name),
        "dtype": "float32",
        "template": "{text}\nA:",
        "sampling": {"temperature": temperature, "max_tokens": 40},
        "samples": SAMPLES,
    }
    for name, temperature in (("abacus", 0.9), ("scribe", 0.0))
]


def descendants(root: int) -> dict[int, str]:
    """Command line by pid of every process below one."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid, stat = int(folder.name), (folder / "stat").read_text()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            lines[pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    below, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below, grown = below | more, bool(more)
    return {pid: lines[pid] for pid in below - {root}}


def the_one(processes: dict[int, str], *, doing: str) -> int:
    """The pid of the Python process that does something; a shell may stand around it."""
    (pid,) = [
        pid for pid, line in processes.items() if doing in line and not line.startswith("/bin/")
    ]
    return pid


def alive(processes: dict[int, str]) -> dict[int, str]:
    """Those that can still write: neither gone nor waiting for a parent to notice."""
    left = {}
    for pid, line in processes.items():
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            left |= {} if state == "Z" else {pid: line}
    return left


@contextlib.contextmanager
def collecting(words: list[str], env: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """`signalbox collect` with a Ray of its own; nothing of it is left behind."""
    command = [sys.executable, "-m", "flows.cli", "collect", *words]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def test_killed_flow_driver_and_worker(fresh, site, prefect, until, tmp_path: Path) -> None:
    (tmp_path / "candidates.yaml").write_text(yaml.safe_dump(CANDIDATES))
    lines = (DEMO / "questions" / "collect.jsonl").read_text().splitlines()[:QUERIES]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    every = len(set(lines)) * SAMPLES * len(CANDIDATES)
    env = os.environ | prefect | {"OMP_NUM_THREADS": "1"}
    words = ["--lake", str(tmp_path / "hit"), "--dataset", "d", "--shard-rows", str(SHARD_ROWS)]
    words += ["--queries", str(tmp_path / "queries.jsonl")]
    words += ["--candidates", str(tmp_path / "candidates.yaml")]
    hit = replace(fresh, root=str(tmp_path / "hit"), file=tmp_path / "queries.jsonl")

    def shards_written() -> int:
        return len(list((tmp_path / "hit").glob("completions/*/shard-*.parquet")))

    def some_more(run: "subprocess.Popen[str]") -> None:
        before = shards_written()
        until(lambda: shards_written() >= before + 3 or run.poll() is not None, seconds=120)
        assert run.poll() is None, run.communicate()

    with collecting(words, env) as run:
        some_more(run)
        processes = descendants(run.pid)
        # The others of Ray end too, its agents after a minute; these two can write.
        doing = ("ray::GenerateWorker", "cluster.jobs.generate")
        processes = {pid: processes[pid] for pid in [the_one(processes, doing=d) for d in doing]}
        run.kill()
        until(lambda: not alive(processes), seconds=30)
    first = hit.stored()
    assert 0 < len(first) < every

    with collecting(words, env) as run:
        some_more(run)
        os.kill(the_one(descendants(run.pid), doing="cluster.jobs.generate"), signal.SIGKILL)
        _, complaint = run.communicate(timeout=120)
        assert run.returncode == 1, complaint
    second = hit.stored()
    assert first < second
    assert len(second) < every

    with collecting(words, env) as run:
        some_more(run)
        os.kill(the_one(descendants(run.pid), doing="ray::GenerateWorker"), signal.SIGKILL)
        told, complaint = run.communicate(timeout=180)
        assert run.returncode == 0, complaint
    generated = json.loads(told.splitlines()[-1])["generate"]["candidates"]
    assert sum(row["generated"] for row in generated) == every - len(second)

    candidates = tuple(load_candidates(tmp_path / "candidates.yaml"))
    calm = replace(hit, root=str(tmp_path / "calm"), candidates=candidates, shard_rows=1000)
    site.succeed(calm.ingest())
    site.succeed(calm.generate())
    assert len(calm.stored()) == every
    hit.must_equal(calm.facts())
