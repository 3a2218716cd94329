"""demo: the whole loop on small models and questions that come with the project."""

import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field
from rich.console import Console

from cluster.errors import SignalboxError
from cluster.jobs.run import Manifest
from cluster.ray_cluster import cluster_address
from flows.collect import CollectParams, collect
from flows.evaluate import EvaluateParams, evaluate
from flows.params import FlowParams
from flows.route import RouteParams, route
from flows.train import TrainParams, train
from tasks.report import show_table

MATERIAL = Path(__file__).parents[1] / "infra" / "demo"
DATASET = "demo"
ROUTER = "champion"


class DemoParams(FlowParams):
    """Collect, train, evaluate, promote and route with real models small enough for two cores."""

    lake: str = Field(
        default="./demo-lake",
        title="Lake",
        description="Folder or s3://bucket/prefix for everything the demo makes",
    )
    answer: int = Field(
        default=200,
        ge=0,
        title="Answer",
        description="Routed questions that the chosen models answer in the end",
    )


@flow(name="demo", persist_result=False)
def demo(params: DemoParams) -> Manifest:
    """Run the loop: 2,000 questions, four models, a router, 10,000 routed questions.

    Fails when the router does not beat the best single model with the interval above zero.
    """
    start = time.monotonic()
    with cluster_address(params.ray_address) as address:
        steps = _run(params, address=address)
    summary = _summary(steps) | {"seconds": time.monotonic() - start}
    lift = summary["lift_over_best_single"]
    if lift["low"] <= 0:
        raise SignalboxError(
            f"the router does not beat the best single model: lift {lift['value']:+.4f}, "
            f"95 % interval [{lift['low']:+.4f}, {lift['high']:+.4f}]"
        )
    return {"flow": "demo", "lake": steps["collect"]["lake"], **summary}


def _run(params: DemoParams, *, address: str) -> dict[str, Manifest]:
    """The four flows a user would trigger, one after another on one cluster."""
    here: dict[str, Any] = {"lake": params.lake, "ray_address": address}
    collecting = CollectParams(
        **here,
        queries=str(MATERIAL / "questions" / "collect.jsonl"),
        candidates=str(MATERIAL / "candidates.yaml"),
        dataset=DATASET,
    )
    training = TrainParams(**here, dataset=DATASET, methods=["cluster_table", "knn"], promote=True)
    evaluating = EvaluateParams(
        **here,
        dataset=DATASET,
        methods=["cluster_table", "knn"],
        routers=[ROUTER],
        output=f"{params.lake}/evaluation",
    )
    return {
        "collect": collect(collecting),
        "train": train(training),
        "evaluate": evaluate(evaluating),
        "route": route(_routing(params, address=address)),
    }


def _routing(params: DemoParams, *, address: str) -> RouteParams:
    """What is routed is the demo's own, so a demo that asks for other answers replaces it."""
    return RouteParams(
        lake=params.lake,
        ray_address=address,
        input=str(MATERIAL / "questions" / "route.jsonl.gz"),
        output=f"{params.lake}/routed.parquet",
        answer=params.answer,
        overwrite=True,
    )


def _summary(steps: dict[str, Manifest]) -> dict[str, Any]:
    """What the four steps came to."""
    evaluated, routed = steps["evaluate"], steps["route"]
    metrics = evaluated["methods"][ROUTER]
    return {
        "generated": _generated(steps["collect"]["generate"]),
        "lift_over_best_single": {
            "value": metrics["lift_over_best_single"],
            "low": metrics["lift_over_best_single_low"],
            "high": metrics["lift_over_best_single_high"],
        },
        "promotion": steps["train"]["promotion"],
        "table": evaluated["table"],
        "picture": evaluated["picture"],
        "quality": steps["collect"]["quality"],
        "routed": {key: routed[key] for key in ("outputs", "rows", "shares", "answers")},
    }


def _generated(manifest: Manifest) -> int:
    """Answers this run has generated; none when the work was done before."""
    if manifest.get("done_before"):
        return 0
    return sum(int(row["generated"]) for row in manifest["candidates"])


def show_result(manifest: Manifest) -> None:
    """The table, the gain and where to look, on stderr."""
    console = Console(stderr=True)
    show_table(manifest["table"], title="held-out questions")
    lift, routed = manifest["lift_over_best_single"], manifest["routed"]
    lines = [
        f"The champion gains {100 * lift['value']:.1f} points over the best single model "
        f"(95 % interval {100 * lift['low']:.1f} to {100 * lift['high']:.1f}).",
        f"{manifest['generated']:,} answers were generated, {routed['rows']:,} questions routed, "
        f"in {manifest['seconds']:.0f} seconds.",
        f"cost against quality: {manifest['picture']}",
        f"quality of the data:  {manifest['quality']['outputs'][0]}",
        f"routed questions:     {routed['outputs'][0]}",
    ]
    if routed["answers"]:
        lines.append(f"a sample's answers:   {routed['answers']['outputs'][0]}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
