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
        collected = collect(
            CollectParams(
                lake=params.lake,
                ray_address=address,
                queries=str(MATERIAL / "questions" / "collect.jsonl"),
                candidates=str(MATERIAL / "candidates.yaml"),
                dataset=DATASET,
            )
        )
        trained = train(
            TrainParams(lake=params.lake, ray_address=address, dataset=DATASET, promote=True)
        )
        evaluated = evaluate(
            EvaluateParams(
                lake=params.lake,
                ray_address=address,
                methods=["knn"],
                routers=[ROUTER],
                dataset=DATASET,
                output=f"{params.lake}/evaluation",
            )
        )
        routed = route(
            RouteParams(
                lake=params.lake,
                ray_address=address,
                input=str(MATERIAL / "questions" / "route.jsonl.gz"),
                output=f"{params.lake}/routed.parquet",
                answer=params.answer,
            )
        )
    summary = _summary(collected, trained, evaluated, routed)
    _show(summary, table=evaluated["table"], seconds=time.monotonic() - start)
    lift = summary["router_lift_over_best_single"]
    if lift["low"] <= 0:
        raise SignalboxError(
            f"the router does not beat the best single model: lift {lift['value']:+.4f}, "
            f"95 % interval [{lift['low']:+.4f}, {lift['high']:+.4f}]"
        )
    return {"flow": "demo", "lake": collected["lake"], **summary}


def _summary(
    collected: Manifest, trained: Manifest, evaluated: Manifest, routed: Manifest
) -> dict[str, Any]:
    """What the four steps came to."""
    metrics = evaluated["methods"][ROUTER]
    return {
        "completions": {
            row["name"]: row["generated"] for row in collected["generate"]["candidates"]
        },
        "router_lift_over_best_single": {
            "value": metrics["lift_over_best_single"],
            "low": metrics["lift_over_best_single_low"],
            "high": metrics["lift_over_best_single_high"],
        },
        "promotion": trained["promotion"],
        "table": evaluated["table"],
        "picture": evaluated["picture"],
        "routed": {key: routed[key] for key in ("outputs", "rows", "shares", "answers")},
    }


def _show(summary: dict[str, Any], *, table: list[dict[str, Any]], seconds: float) -> None:
    console = Console(stderr=True)
    show_table(table, title="held-out questions")
    lift = summary["router_lift_over_best_single"]
    console.print(
        f"The router gains {100 * lift['value']:.1f} points over the best single model, "
        f"95 % interval {100 * lift['low']:.1f} to {100 * lift['high']:.1f}."
    )
    console.print(f"cost against quality  {summary['picture']}")
    console.print(f"routed questions      {summary['routed']['outputs'][0]}")
    if summary["routed"]["answers"]:
        console.print(f"a sample's answers    {summary['routed']['answers']['outputs'][0]}")
    console.print(f"{seconds:.0f} seconds")
