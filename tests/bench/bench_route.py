"""Rows a second of the route job, Parquet to Parquet, against its own bare kernel and the peers.

    python tests/bench/bench_route.py [--rows 1000000] [--large 10000000] [--method cluster_table]
        [--large-group-rows 1048576] [--output folder|file] [--picture memory.png]

Everything is measured in one run on one machine. The bare kernel is `router.predict` in a loop over
texts in memory, in one process a core with one thread each (and, for comparison, in one process
with all threads); it runs before and after the job, and the mean counts. The job is the command
`signalbox route` as a user types it. On a machine with other work the processor seconds say more
than the clock: both are printed.

Its steady state is from the moment the first shard is through to the moment the last is. By then
the other workers are nearly through with a shard each, which counts as done in that time; the lower
figure leaves these out. Memory is the proportional set size of the job's driver and its workers,
looked at every 0.4 s: Parquet pages, rows, router and what they hold of Ray's object store are in
it; Ray's own processes, Prefect and the page cache of files are not.

The file of the large run has the few large row groups that pyarrow writes unless told otherwise, in
the middle of which workers begin, so that what this takes is in its memory.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from route_queries import GROUP_ROWS, queries, registered_router, write_prices, write_queries
from route_watch import Watched, draw, watched_route

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.lexical import FittedLexical, count_terms, slices
from cluster.jobs.route import BATCH_ROWS
from cluster.lake.lake import Lake
from cluster.policies.load import load_policy
from cluster.routers.checkpoint import load_router
from cluster.routers.cluster_table import ClusterTableRouter

CORES = len(os.sched_getaffinity(0))
LAMBDA = "20"
BARE_ROWS = 50_000
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

BARE = """
import sys, time
import polars as pl
from cluster.routers.checkpoint import load_router
router = load_router(sys.argv[1])
texts = pl.read_parquet(sys.argv[2])["text"]
router.predict(texts[:5000])
print("ready", flush=True)
sys.stdin.readline()
start, spent, rows = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - start < float(sys.argv[3]):
    router.predict(texts)
    rows += len(texts)
print(rows, time.perf_counter() - start, time.process_time() - spent, flush=True)
"""


def main() -> None:
    """Make the files, measure, print."""
    arguments = parsed()
    with TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        lake = Lake.open(str(folder / "lake"))
        version, checkpoint = registered_router(lake, method=arguments.method)
        write_prices(folder / "prices.yaml")
        queries(BARE_ROWS, seed=7).to_frame().write_parquet(folder / "bare.parquet")
        print(
            f"{CORES} cores, load {os.getloadavg()[0]:.1f}; router {arguments.method}", flush=True
        )
        before = bare(checkpoint, folder=folder, seconds=arguments.seconds)
        runs = {}
        groups = {arguments.rows: GROUP_ROWS, arguments.large: arguments.large_group_rows}
        for rows in filter(None, groups):
            name = f"{rows / 1e6:g} M rows"
            words = ["--router", version, "--prices", str(folder / "prices.yaml")]
            words += ["--policy", "utility", "--lambda-usd", LAMBDA]
            file = folder / f"queries-{rows}.parquet"
            write_queries(file, rows=rows, group_rows=groups[rows])
            runs[name] = routed(file, rows=rows, words=words, output=arguments.output)
            tell_run(name, runs[name])
        after = bare(checkpoint, folder=folder, seconds=arguments.seconds)
        tell_kernel(next(iter(runs.values())), kernel=(before, after))
        tell_parts(checkpoint, folder=folder)
        tell_growth(runs)
        tell_peers(checkpoint, run=next(iter(runs.values())), folder=folder, rows=arguments.peer)
        tell_cost(next(iter(runs.values())), arguments=arguments)
        if arguments.picture:
            draw(runs, arguments.picture)
            print(f"memory over time: {arguments.picture}")


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=0, help="rows of a second run; 0 for none")
    parser.add_argument(
        "--large-group-rows", type=int, default=2**20, help="rows of its row groups"
    )
    parser.add_argument("--method", default="cluster_table")
    parser.add_argument("--output", choices=("folder", "file"), default="folder")
    parser.add_argument(
        "--folder", default=None, help="where the files are made and left behind not"
    )
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of each look at the bare kernel"
    )
    parser.add_argument("--peer", type=int, default=1000, help="rows that are routed as peers do")
    parser.add_argument("--picture", type=Path, default=None, help="PNG of the memory over time")
    parser.add_argument("--usd-per-core-hour", type=float, default=0.05)
    parser.add_argument("--usd-per-gpu-hour", type=float, default=2.5)
    parser.add_argument("--gpu-tokens", type=float, default=10_000.0, help="7B model, tokens/s")
    parser.add_argument("--answer-tokens", type=float, default=250.0)
    return parser.parse_args()


def bare(checkpoint: str, *, folder: Path, seconds: float) -> dict[str, float]:
    """Queries a second of the kernel alone: one process a core, and one process for all cores."""
    apart = _bare(checkpoint, folder=folder, seconds=seconds, processes=CORES)
    whole = _bare(checkpoint, folder=folder, seconds=seconds, processes=1)
    rate, cpu = apart
    print(
        f"bare kernel: {rate:,.0f} queries/s in {CORES} processes of a thread, "
        f"{whole[0]:,.0f} in one; {cpu * 1e6:.1f} µs of a core a query",
        flush=True,
    )
    return {"rate": rate, "whole": whole[0], "cpu": cpu}


def _bare(checkpoint: str, *, folder: Path, seconds: float, processes: int) -> tuple[float, float]:
    """Queries a second of all processes together, and processor seconds a query."""
    command = [sys.executable, "-c", BARE, checkpoint, str(folder / "bare.parquet"), str(seconds)]
    environment = os.environ | (ONE_THREAD if processes > 1 else {})
    running = [
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [[float(word) for word in process.communicate()[0].split()] for process in running]
    rows = sum(row for row, _, _ in told)
    return sum(row / wall for row, wall, _ in told), sum(cpu for _, _, cpu in told) / rows


def routed(file: Path, *, rows: int, words: list[str], output: str) -> Watched:
    """A file of so many rows, routed; it is gone then."""
    folder = file.parent
    target = folder / (f"routed-{rows}" if output == "folder" else f"routed-{rows}.parquet")
    lake = folder / f"lake-{rows}"
    # A lake of its own, so that what comes up in it comes of this run.
    subprocess.run(["cp", "-r", str(folder / "lake"), str(lake)], check=True)
    run = watched_route(lake, words=["--input", str(file), "--output", str(target), *words])
    found = pl.scan_parquet(target).select(pl.len(), distinct=pl.col("id").n_unique()).collect()
    assert found.row(0) == (rows, rows), "every row once"
    subprocess.run(["rm", "-r", str(file), str(target), str(lake)], check=True)
    return run


def tell_run(name: str, run: Watched) -> None:
    """How fast a run was, what its start was made of, and its memory."""
    manifest, seconds = run.manifest, run.manifest["seconds"]
    moments = {
        "Prefect and Ray": run.spec_at,
        "job submitted, driver up": run.driver_at,
        "first worker up": run.worker_at,
        "first shard through": run.first_at,
    }
    between = seconds["last_rows"] - seconds["first_rows"]
    print(
        f"{name}: {manifest['rows_per_second']:,.0f} queries/s in steady state "
        f"({(manifest['rows'] - CORES * BATCH_ROWS) / between:,.0f} without what the other "
        "workers had in hand when the first shard was through); "
        f"{manifest['rows'] / seconds['all']:,.0f} over the job's {seconds['all']:.1f} s; "
        f"the command took {run.wall:.1f} s; "
        f"{seconds['processor'] / manifest['rows'] * 1e6:.1f} µs of a core a query, "
        f"{run.cpu_seconds / manifest['rows'] * 1e6:.1f} with the processes' start"
    )
    print("  start: " + ", ".join(f"{what} at {at or 0:.1f} s" for what, at in moments.items()))
    print(
        f"  the job: input looked at {seconds['input_looked_at']:.1f} s, first shard "
        f"{seconds['first_rows']:.1f} s, last {seconds['last_rows']:.1f} s, output written "
        f"{seconds['all']:.1f} s; peak memory {run.peak:,.0f} MB, proportional set size of the "
        f"driver and {CORES} workers",
        flush=True,
    )


def tell_kernel(run: Watched, *, kernel: tuple[dict[str, float], dict[str, float]]) -> None:
    """The job as a share of its kernel: by the clock, and by processor time."""
    rate, cpu = (sum(one[name] for one in kernel) / len(kernel) for name in ("rate", "cpu"))
    job = run.manifest["seconds"]["processor"] / run.manifest["rows"]
    print(
        f"of the bare kernel: {run.manifest['rows_per_second'] / rate:.2f} by the clock (target "
        f"0.70), {cpu / job:.2f} by processor time"
    )


def tell_parts(checkpoint: str, *, folder: Path) -> None:
    """What a query's time is made of, on one core, where words and tables route it."""
    router, file = load_router(checkpoint), folder / "bare.parquet"
    texts = pl.read_parquet(file)["text"]
    if not isinstance(router, ClusterTableRouter) or not isinstance(router.encoder, FittedLexical):
        return
    words, vectors = router.encoder.vocabulary, router.encoder.encode(texts)
    routed = texts.to_frame().with_columns(
        pl.Series(column).alias(name)
        for name, column in zip(router.candidates, router.predict(texts).reward.T, strict=True)
    )
    with one_blas_thread():
        counted = spent(lambda: [count_terms(part, words) for part in slices(texts)])
        encoded = spent(lambda: router.encoder.encode(texts))
        parts = {
            "reading Parquet": spent(lambda: pl.read_parquet(file)),
            "splitting and counting words": counted,
            "projecting them": encoded - counted,
            "the predicted task": spent(lambda: router.classifier.predict(vectors)),
            "the tables' nearest centroids": spent(lambda: router.tables.residuals(vectors)),
            "writing Parquet": spent(lambda: routed.write_parquet(io.BytesIO())),
        }
    told = ", ".join(f"{name} {1e6 * took / len(texts):.1f}" for name, took in parts.items())
    print(f"µs of a core a query: {told}", flush=True)


def spent(work: Callable[[], object]) -> float:
    """Processor seconds of some work, the second time it is done."""
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


def tell_growth(runs: dict[str, Watched]) -> None:
    """Memory and time of the large run against the small one."""
    if len(runs) < 2:
        return
    small, large = runs.values()
    rows = large.manifest["rows"] / small.manifest["rows"]
    print(
        f"{rows:g} times the rows: {large.peak / small.peak:.2f} of the memory, "
        f"{large.manifest['seconds']['all'] / small.manifest['seconds']['all']:.1f} times the time "
        f"({large.wall / small.wall:.1f} of the whole command)"
    )


def tell_peers(checkpoint: str, *, run: Watched, folder: Path, rows: int) -> None:
    """The same router as peers run theirs: the file as a list, a forward a prompt."""
    file = folder / "peer.jsonl"
    pl.DataFrame({"text": queries(rows, seed=3)}).write_ndjson(file)
    router, policy = load_router(checkpoint), load_policy("best")

    def loop() -> None:
        queries = [json.loads(line) for line in file.read_text().splitlines()]
        for query in queries:
            text = pl.Series([query["text"]])
            choice = policy.choose(router.predict(text), texts=text)
            query["candidate"] = router.candidates[int(choice[0])]
        file.write_text("".join(json.dumps(query) + "\n" for query in queries))

    rate = rows / timed(loop)
    print(
        f"as peers do it: {rate:,.0f} queries/s; the job is "
        f"{run.manifest['rows_per_second'] / rate:,.0f} times as fast (target 20)"
    )


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tell_cost(run: Watched, *, arguments: argparse.Namespace) -> None:
    """What it costs to route a query, and to answer it with a 7B model."""
    core_seconds = run.cpu_seconds / run.manifest["rows"]
    route = core_seconds * arguments.usd_per_core_hour / 3600
    answer = arguments.answer_tokens / arguments.gpu_tokens * arguments.usd_per_gpu_hour / 3600
    print(
        f"cost: {route:.1e} USD to route a query ({core_seconds * 1e6:.0f} µs of a core at "
        f"{arguments.usd_per_core_hour} USD an hour), {answer:.1e} USD to answer it with a 7B "
        f"model ({arguments.answer_tokens:g} tokens at {arguments.gpu_tokens:,.0f} tokens/s of a "
        f"GPU at {arguments.usd_per_gpu_hour} USD an hour): 1/{answer / route:,.0f} (target "
        "1/1,000)"
    )


if __name__ == "__main__":
    main()
