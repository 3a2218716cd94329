"""Real SIGKILLs of real processes while real vLLM generates, and an undisturbed lake beside it.

The flow with its own Ray, then the job's driver, then the worker: each at a moment when some of
the answers are written and some are not.
"""

import os
from dataclasses import replace
from pathlib import Path

from cluster.candidate import load_candidates
from cluster.process import process_start

from .killing import DEMO, Command, command, living, write_candidates

SHARD_ROWS = 16
QUERIES, SAMPLES = 400, 2
NAMES = ("abacus", "scribe")
WORKER, DRIVER = "ray::GenerateWorker", "cluster.jobs.generate"


def test_killed_flow_driver_and_worker(
    *, fresh, site, prefect, until, fault_table, tmp_path: Path
) -> None:
    file = write_candidates(tmp_path / "candidates.yaml", samples=SAMPLES, names=NAMES)
    lines = (DEMO / "questions" / "collect.jsonl").read_text().splitlines()[:QUERIES]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    every = len(set(lines)) * SAMPLES * len(NAMES)
    env = os.environ | prefect | {"OMP_NUM_THREADS": "1"}
    words = ["collect", "--lake", str(tmp_path / "hit"), "--dataset", "d", "--shard-rows"]
    words += [str(SHARD_ROWS), "--queries", str(tmp_path / "queries.jsonl")]
    words += ["--candidates", str(file)]
    hit = replace(fresh, root=str(tmp_path / "hit"), file=tmp_path / "queries.jsonl")

    def some_more(run: Command) -> None:
        def written() -> int:
            return len(list((tmp_path / "hit").glob("completions/*/shard-*.parquet")))

        before = written()
        run.until(lambda: written() >= before + 3)

    with fault_table.run("SIGKILL of the flow", where="collect, real vLLM"):
        with command(*words, env=env) as run:
            some_more(run)
            # The others of Ray end too, its agents after a minute; these two can write.
            writers = {
                pid: process_start(pid) for one in (WORKER, DRIVER) for pid in run.those(one)
            }
            assert len(writers) == 2
            run.run.kill()
            until(lambda: not living(writers))
        first = hit.stored()
        assert 0 < len(first) < every

    with fault_table.run("SIGKILL of the job's driver", where="collect, real vLLM"):
        with command(*words, env=env) as run:
            some_more(run)
            run.kill(DRIVER)
            run.fails()
        second = hit.stored()
        assert first < second
        assert len(second) < every

    with fault_table.run("SIGKILL of the worker, which is the engine", where="collect, real vLLM"):
        with command(*words, env=env) as run:
            some_more(run)
            run.kill(WORKER)
            generated = run.succeeds()["generate"]["candidates"]
        assert sum(row["generated"] for row in generated) == every - len(second)

        candidates = tuple(load_candidates(file))
        calm = replace(hit, root=str(tmp_path / "calm"), candidates=candidates, shard_rows=1000)
        site.succeed(calm.ingest())
        site.succeed(calm.generate())
        assert len(calm.stored()) == every
        hit.must_equal(calm.facts())
