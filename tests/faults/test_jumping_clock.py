"""A wall clock that jumps: nobody loses a lease to it, and nothing is generated twice."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cluster.jobs.run import Run

FAULT = "the clock jumps by hours and years"
# Every reading of the process, ours and Ray's, is of another jump three times a second.
CODE = """
import time
from cluster.jobs.generate import GenerateSpec, generate
from cluster.jobs.run import main
JUMPS = (7200, -129600, 0, -315360000, 34560000)
real, first = time.time, {first}
time.time = lambda: real() + JUMPS[(first + int(time.monotonic() * 3)) % len(JUMPS)]
main(GenerateSpec, work=generate)
"""


def test_two_runs_whose_clocks_jump(ingested, site, fault_table, tmp_path: Path) -> None:
    """On one lake at once, each with a clock of its own."""
    slow = tuple(one.model_copy(update={"model": "0.2"}) for one in ingested.candidates)
    world = replace(ingested.copied(tmp_path / "lake"), candidates=slow)
    spec = world.generate()
    uri = Run.of(spec).write_spec(spec)
    site.echo.forget()

    def run(number: int) -> None:
        done = site.python("-c", CODE.format(first=number), uri)
        assert done.returncode == 0, done.stderr[-3000:]

    with fault_table.run(FAULT, where="two generate jobs at once"):
        with ThreadPoolExecutor(2) as both:
            list(both.map(run, range(2)))
        log = site.echo.generated()
        assert len(log) == len(set(log)) == 60
        rows = world.facts()["completions"]
        assert rows.height == 60
        assert rows["text"].null_count() == 0
