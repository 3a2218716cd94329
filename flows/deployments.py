"""What can be started from the Prefect UI: one line a deployment, for `up` and for a work pool.

`signalbox up` serves these from its own process; `infra/prefect.yaml` holds the same for a work
pool.
"""

import importlib
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment

TAG = "signalbox"
TIMEZONE = "UTC"
# The deployment that `up --nightly` gives its parameters to.
NIGHTLY = "retrain"
# Filled in by the Prefect server when the event comes.
LAKE_OF_EVENT = {"__prefect_kind": "jinja", "template": "{{ event.payload.lake }}"}


@dataclass(frozen=True)
class Schedule:
    """When a deployment runs by itself: a cron line in a timezone.

    Attributes:
        cron, timezone: when.
        active: whether it does so from the start; otherwise once it is given what it needs.
    """

    cron: str
    timezone: str
    active: bool = True


@dataclass(frozen=True)
class Deployment:
    """A flow as the UI offers it.

    Attributes:
        name: of the deployment; the command line knows it by the same.
        entrypoint: module and function of the flow, such as `flows.collect.collect`.
        description: what stands beside it in the UI.
        tags: what it can be found by, beside `signalbox`.
        defaults: values its form begins with, where they are not the parameters' own.
        schedule: when it runs by itself; None: only when it is asked to.
        at_once: how many of its runs there may be at a time; None: any number.
        waits: whether one more waits for its turn; otherwise it is cancelled.
        runs_on: names of events that start it, on the lake that the event is about.
    """

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    at_once: int | None = None
    waits: bool = False
    runs_on: tuple[str, ...] = ()

    @property
    def all_tags(self) -> list[str]:
        return [TAG, *self.tags]

    def flow(self) -> "Flow[..., Any]":
        """The flow itself; imports its module."""
        module, _, name = self.entrypoint.rpartition(".")
        found: Flow[..., Any] = getattr(importlib.import_module(module), name)
        return found


DEPLOYMENTS = (
    Deployment(
        name="collect",
        entrypoint="flows.collect.collect",
        description="Candidates answer queries: ingest a file, generate what is missing, reward, "
        "tag. What is stored already is not generated again.",
        tags=("data",),
    ),
    Deployment(
        name="import",
        entrypoint="flows.import_tables.import_tables",
        description="Bring in score tables, verdicts and preference battles made elsewhere.",
        tags=("data",),
    ),
    Deployment(
        name="train",
        entrypoint="flows.train.train",
        description="Fit routers on a dataset, evaluate them against the baselines and register "
        "them; with Promote, the best goes before the gate.",
        tags=("routers",),
    ),
    Deployment(
        name="evaluate",
        entrypoint="flows.evaluate.evaluate",
        description="Methods and registered routers against all baselines, with intervals and a "
        "report page.",
        tags=("routers",),
    ),
    Deployment(
        name="calibrate",
        entrypoint="flows.calibrate.calibrate",
        description="The cheapest way to route that keeps a share of a model's quality, with a "
        "stated promise.",
        tags=("routers",),
    ),
    Deployment(
        name="route",
        entrypoint="flows.route.route",
        description="A query file becomes the same file with the candidate that should answer each "
        "row; optionally the chosen ones answer.",
        tags=("routing",),
    ),
    Deployment(
        name="route-waiting",
        entrypoint="flows.route_waiting.route_waiting",
        description="Route the waiting jobs of a lake with its champion; runs by itself whenever "
        "another router becomes champion.",
        tags=("routing",),
        at_once=1,
        # Promoted twice in a row, the second is to be routed with, too.
        waits=True,
        runs_on=("signalbox.router.promoted", "signalbox.router.rolled-back"),
    ),
    Deployment(
        name="retrain",
        entrypoint="flows.retrain.retrain",
        description="One night: what is new is answered within the budget, labelled, learned from "
        "and put before the gate; the champion stays or is replaced, with the reason in words.",
        tags=("nightly",),
        # Without parameters there is no cap: what is missing would be asked for, whatever it costs.
        schedule=Schedule(cron="0 2 * * *", timezone=TIMEZONE, active=False),
        at_once=1,
    ),
    Deployment(
        name="upkeep",
        entrypoint="flows.upkeep.upkeep",
        description="Tidy the lake: merge small files, delete what nobody reads any more.",
        tags=("nightly",),
        schedule=Schedule(cron="0 5 * * 0", timezone=TIMEZONE),
        at_once=1,
    ),
    Deployment(
        name="promote",
        entrypoint="flows.champion.promote",
        description="Make a registered router champion by hand, whatever the gate would say.",
        tags=("registry",),
    ),
    Deployment(
        name="rollback",
        entrypoint="flows.champion.rollback",
        description="Take the champion off and bring back the one before: one click, nothing to "
        "fill in.",
        tags=("registry",),
    ),
)


def runner_deployment(
    deployment: Deployment,
    *,
    defaults: dict[str, str] | None = None,
    values: dict[str, Any] | None = None,
) -> "RunnerDeployment":
    """A deployment as Prefect takes it.

    Args:
        deployment: which.
        defaults: texts the form begins with, beside the deployment's own values; what its flow
            has no such parameter for is left out.
        values: what it is to run with by itself; with them its schedule is active.
    """
    from prefect.client.schemas.objects import (
        ConcurrencyLimitConfig,
        ConcurrencyLimitStrategy,
    )
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    limit = None
    if deployment.at_once is not None:
        strategy = (
            ConcurrencyLimitStrategy.ENQUEUE
            if deployment.waits
            else ConcurrencyLimitStrategy.CANCEL_NEW
        )
        limit = ConcurrencyLimitConfig(limit=deployment.at_once, collision_strategy=strategy)
    flow = deployment.flow()
    texts = _text_fields(flow)
    begins = {name: value for name, value in (defaults or {}).items() if name in texts}
    parameters = begins | deployment.defaults | (values or {})
    return RunnerDeployment.from_flow(
        flow,
        name=deployment.name,
        description=deployment.description,
        tags=deployment.all_tags,
        parameters={"params": parameters} if parameters else {},
        version=version("signalbox"),
        # Not that of whatever repository lies around the folder the command is run in.
        version_type="prefect:simple",  # type: ignore[arg-type]
        schedules=_schedules(deployment, given=bool(values)),
        concurrency_limit=limit,
        triggers=_triggers(deployment),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _text_fields(flow: "Flow[..., Any]") -> set[str]:
    """Parameters of a flow that take one text; `candidates` is a file here and a list there."""
    fields = get_type_hints(flow.fn)["params"].model_fields
    return {name for name, found in fields.items() if found.annotation is str}


def _schedules(deployment: Deployment, *, given: bool) -> list[Any]:
    from prefect.schedules import Cron

    when = deployment.schedule
    if when is None:
        return []
    return [Cron(when.cron, timezone=when.timezone, active=when.active or given)]


def _triggers(deployment: Deployment) -> list[Any]:
    """The automation that starts the deployment when something happens."""
    from prefect.events import DeploymentEventTrigger

    if not deployment.runs_on:
        return []
    return [
        DeploymentEventTrigger(
            name=f"{deployment.name} when {TAG} tells of a new champion",
            expect=set(deployment.runs_on),
            parameters={"params": {"lake": LAKE_OF_EVENT}},
        )
    ]
