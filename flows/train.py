"""train: outcomes of a dataset → fitted, evaluated and registered routers."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.errors import InputError
from cluster.gate.snapshot import Measure, current_or_frozen
from cluster.jobs.run import Manifest
from cluster.jobs.train import TrainSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import check_outcomes, has_rewards
from cluster.lake.prices import read_prices
from cluster.price import Prices
from cluster.ray_cluster import cluster_address
from flows.fit_fields import (
    EncoderField,
    EncoderModelField,
    FoldsField,
    JudgeField,
    PreferencesField,
    SettingsField,
    StrongField,
    TaggerField,
    WeakField,
    WorkersField,
    check_fit,
    fit_fields,
    fit_inputs,
)
from flows.params import (
    CandidatesField,
    FlowParams,
    NormalisationField,
    PricesField,
    ScorerField,
    SeedField,
    TemperatureField,
    check_ray,
    plugin_name,
)
from tasks.evaluated import show_decision, show_methods
from tasks.events import EventName, emit
from tasks.gate import gate, shown_comparisons
from tasks.jobs import ray_job
from tasks.report import say, show_lines, show_table

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = plugin_name("routers")


class TrainParams(FlowParams):
    """Fit one or several methods, evaluate them against the baselines, register the checkpoints."""

    FIRST: ClassVar[tuple[str, ...]] = ("dataset", "methods", "promote")

    methods: list[MethodName] = Field(
        default=["cluster_table"],
        min_length=1,
        title="Methods",
        description="Routers to fit; settings are chosen on the validation split, or by --folds",
    )
    dataset: str = Field(
        default="default",
        title="Dataset",
        description="What to learn from, and to measure on. With the dataset of --preferences, "
        "where it has no rewards, battles are learned from alone and nothing is measured",
        min_length=1,
    )
    scorer: ScorerField = ""
    normalisation: NormalisationField = "none"
    temperature: TemperatureField = 1.0
    candidates: CandidatesField = Field(default=[])
    prices: PricesField = ""
    encoder: EncoderField = "lexical"
    encoder_model: EncoderModelField = ""
    settings: SettingsField = ""
    tagger: TaggerField = ""
    workers: WorkersField = 0
    folds: FoldsField = 0
    preferences: PreferencesField = ""
    judge: JudgeField = ""
    strong: StrongField = ""
    weak: WeakField = ""
    promote: bool = Field(
        default=False,
        title="Promote",
        description="Make the best of the new routers champion if it passes the gate",
    )
    seed: SeedField = 0


def check(params: TrainParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, prices, settings, dataset, scorer, tagger or Ray address are not what
            they must be.
    """
    lake = Lake.open(params.lake, create=False)
    read_prices(params.prices, lake=lake)
    check_fit(params, methods=params.methods, lake=lake)
    if _learns_alone(params, lake=lake):
        if params.promote:
            raise InputError(
                f"--promote: dataset '{params.dataset}' has no rewards to measure by; beside "
                "--preferences name one that has with --dataset"
            )
    else:
        check_outcomes(lake, dataset=params.dataset, scorer=params.scorer)
    check_ray(params)


def _learns_alone(params: TrainParams, *, lake: Lake) -> bool:
    """Whether there are battles of the dataset and nothing else."""
    same = params.preferences == params.dataset
    return same and not has_rewards(lake, dataset=params.dataset)


@flow(name="train", persist_result=False)
def train(params: TrainParams) -> Manifest:
    """Fit methods on pinned data on Ray, evaluate them on the test split, register them.

    With promote, the best by validation becomes champion when it beats what could run instead on a
    frozen snapshot of the test queries, with its interval above zero; otherwise it stays challenger
    and the report says why. The first promotion of a dataset freezes the snapshot.
    """
    check(params)
    lake = Lake.open(params.lake, create=False)
    with cluster_address(params.ray_address) as address:
        snapshot = snapshot_of(params, lake=lake) if params.promote else ""
        spec = train_spec(params, lake=lake, snapshot=snapshot)
        trained = ray_job(spec, address=address)
        for router in trained["routers"]:
            register_trained(router, params=params, lake=lake)
        promotion = None
        if params.promote:
            promotion = promote_best(
                trained, snapshot=snapshot, prices=spec.prices, lake=lake, address=address
            )
            verdict: EventName = (
                "signalbox.router.promoted" if promotion["promoted"] else "signalbox.router.kept"
            )
            emit(verdict, lake=lake, payload=promotion | {"by": "gate"})
    show_methods(trained, where="the test split")
    if promotion:
        show_decision(promotion)
    return {"flow": "train", "lake": lake.storage.uri, **trained, "promotion": promotion}


def snapshot_of(params: TrainParams, *, lake: Lake) -> str:
    """The frozen snapshot that the gate measures by; the first promotion freezes it.

    Raises:
        InputError: there is none, and the dataset has too few test rows for one.
    """
    measure = Measure(params.dataset, params.scorer, params.normalisation, params.temperature)
    return current_or_frozen(lake, measure=measure).name


def train_spec(params: TrainParams, *, lake: Lake, snapshot: str) -> TrainSpec:
    """The job's spec, on the tables as they are now and against the champion there is.

    `snapshot`: name of the one the gate measures by; empty for none.
    """
    return TrainSpec(
        lake=lake.storage.uri,
        methods=tuple(params.methods),
        dataset=params.dataset,
        scorer=params.scorer,
        normalisation=params.normalisation,
        temperature=params.temperature,
        candidates=tuple(params.candidates),
        prices=read_prices(params.prices, lake=lake),
        champion=_champion(lake, version=registry.champion(lake)),
        snapshot=snapshot,
        seed=params.seed,
        inputs=lake.versions(fit_inputs(params)),
        **fit_fields(params),
    )


def _champion(lake: Lake, *, version: str | None) -> tuple[str, str] | None:
    """(version, checkpoint) of the router to beat."""
    if version is None:
        return None
    return version, registry.resolve(lake, version=version)["checkpoint"]


def register_trained(router: dict[str, Any], *, params: TrainParams, lake: Lake) -> None:
    """Note one of a train job's routers as challenger; again changes nothing."""
    registry.register(
        lake,
        version=router["version"],
        checkpoint=router["checkpoint"],
        method=router["method"],
        dataset=params.dataset,
        metrics=router["metrics"],
        why=_why(params),
    )


def _why(params: TrainParams) -> str:
    """What a router was trained on."""
    battles = f"battles of {params.preferences}" if params.preferences else ""
    outcomes = "" if params.preferences == params.dataset else params.dataset
    return "trained on " + " and ".join(filter(None, (outcomes, battles)))


def promote_best(
    trained: Manifest,
    *,
    snapshot: str,
    prices: Prices,
    lake: Lake,
    address: str,
    gone: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Put the best new router (by validation) before the gate.

    `gone`: ids of candidates that nobody can ask any more.

    Raises:
        InputError: none of them may be champion.
    """
    version = best_of(trained)["version"]
    decision = gate(
        version, snapshot=snapshot, lake=lake, prices=prices, address=address, gone=gone
    )
    return {"version": version, **decision.as_json()}


def best_of(trained: Manifest) -> dict[str, Any]:
    """The router that is best by validation, of those that may be champion.

    Raises:
        InputError: none of them may be.
    """
    # What reads an answer cannot route a file, and is measured with more than a router sees.
    gated = [
        router
        for router in trained["routers"]
        if router["metrics"] and not router["reads_answer_of"]
    ]
    if not gated:
        raise InputError(
            "--promote needs a method that is not a baseline and decides by the query alone, such "
            "as cluster_table"
        )
    return max(gated, key=_validation_reward)


def _validation_reward(router: dict[str, Any]) -> float:
    value = router["validation_macro_reward"]
    return -math.inf if value is None else float(value)


def show_result(manifest: Manifest) -> None:
    """The short table and the gate's word, on stderr."""
    if manifest["table"]:
        show_table(manifest["table"], title="test queries")
    else:
        say(
            "nothing was measured, as battles have no rewards; 'signalbox evaluate --routers "
            f"{manifest['routers'][0]['version'][:12]} --dataset NAME --strong NAME --weak NAME' "
            "measures on a dataset that has"
        )
    for alarm in manifest["alarms"]:
        say(alarm)
    promotion = manifest["promotion"]
    if promotion:
        verdict = "is champion now" if promotion["promoted"] else "stays challenger"
        say(f"router {promotion['version'][:12]} {verdict}: {promotion['why']}")
        if promotion["comparisons"]:
            where = f"snapshot {promotion['snapshot']}, look {promotion['look']}"
            show_lines(shown_comparisons(promotion["comparisons"]), title=where)
