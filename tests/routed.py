"""A small router and specs that route with it, for the tests of the route job."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cluster.jobs.ingest import pin_files
from cluster.jobs.route import route
from cluster.jobs.run import Run
from cluster.outcome import OutcomeMatrix
from cluster.price import Price
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routing.spec import RouteSpec

CANDIDATES = ("cheap", "strong")
IDS = ("id-1", "id-2")
PRICES = {"cheap": Price(input=1, output=1), "strong": Price(input=10, output=10)}


def save_router(folder: Path, *, strong: float = 1.0, **settings: Any) -> str:
    """Version of a router that sends sums to `cheap` and poems to `strong`, saved in a folder.

    `strong`: what the poems of `strong` are worth; another value makes another version. The
    settings are those of its method, `knn`.
    """
    sums, poems = ([f"{kind} {n} and {n + 1}" for n in range(40)] for kind in ("add", "a poem on"))
    reward = np.array([[1.0, 0.0]] * 40 + [[0.0, strong]] * 40)
    tokens = np.full(reward.shape, 10.0)
    texts = sums + poems
    frame = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    frame = frame.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    outcomes = OutcomeMatrix(
        frame, CANDIDATES, IDS, reward, tokens, tokens, tokens, tokens, tokens * 0
    )
    ratios = {"prompt_tokens_per_character": dict.fromkeys(CANDIDATES, 0.5)}
    meta = CheckpointMeta(candidate_ids=IDS, data=ratios)
    return save_checkpoint(Knn(k=5, **settings).fit(outcomes, seed=0), str(folder), meta=meta)


def query_rows(count: int, *, start: int = 0) -> pl.DataFrame:
    """Sums and poems in turn, no two alike."""
    numbers = range(start, start + count)
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in numbers]
    return pl.DataFrame({"id": numbers, "text": texts})


def specs(folder: Path, **router: Any) -> Callable[..., RouteSpec]:
    """Makes specs of the files `in.*` of a folder, with one router of these settings."""
    version = save_router(folder / "router", **router)

    def spec(output: str, **changes: Any) -> RouteSpec:
        settings = {
            "lake": str(folder / "lake"),
            "files": pin_files(str(folder / "in.*")),
            "output": output if output.startswith("s3://") else str(folder / output),
            "text_column": "text",
            "router": version,
            "checkpoint": str(folder / "router"),
            "policy": "best",
            "policy_settings": {},
            "prices": PRICES,
            "max_error_share": 0.05,
        }
        return RouteSpec(**(settings | changes))

    return spec


def run(spec: RouteSpec) -> dict[str, Any]:
    """Route in this process; returns the manifest."""
    manifest = route(spec, Run.of(spec))
    Run.of(spec).write_manifest(manifest)
    return manifest
