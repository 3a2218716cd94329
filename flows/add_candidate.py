"""add-candidate: a new candidate joins a fitted router after a few hundred answers."""

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.candidate import Candidate, check_candidates, load_candidates
from cluster.errors import InputError
from cluster.jobs.add_candidate import AddCandidateSpec
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.label import LabelSpec
from cluster.jobs.probe import ProbeSpec
from cluster.jobs.run import Manifest
from cluster.labels import Label, read_labels, scorers_for
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS, check_outcomes, scorer_of
from cluster.lake.prices import read_prices
from cluster.lake.tables import COMPLETIONS, QUERIES
from cluster.plugins import plugin_names
from cluster.ray_cluster import cluster_address
from cluster.routers.checkpoint import read_manifest
from flows.params import (
    FlowParams,
    LabelsField,
    NormalisationField,
    PricesField,
    ScorerField,
    SeedField,
    TemperatureField,
    check_ray,
)
from tasks.artifacts import table_artifact
from tasks.jobs import ray_job
from tasks.report import say, show_table


class AddCandidateParams(FlowParams):
    """Run a new candidate on a few hundred queries, and let a fitted router choose it from then on.

    Works for the methods that route among several candidates: tables, neighbours, means and ridge,
    a network's vectors (multihead, routerdc, mf, zooter), and a stack of these. Not for a router of
    a strong/weak pair, where there is no third, and not for similarity_weighted.
    """

    name: str = Field(title="Name", description="Name of the new candidate", min_length=1)
    candidates: str = Field(
        default="",
        title="Candidate file",
        description="YAML or TOML file with an entry of that name. Empty: its rewards on the "
        "dataset are in the lake already, from an import",
    )
    router: str = Field(
        default="champion",
        title="Router",
        description="A registered version, the beginning of one, or champion",
    )
    dataset: str = Field(
        default="default", title="Dataset", description="Whose queries it is tried on", min_length=1
    )
    scorer: ScorerField = ""
    labels: LabelsField = ""
    normalisation: NormalisationField = "none"
    temperature: TemperatureField = 1.0
    probes: int = Field(
        default=300,
        ge=10,
        title="Probe queries",
        description="Train queries it answers, chosen to stand for all; what it is worth is "
        "learned from these",
    )
    test_queries: int = Field(
        default=200,
        ge=10,
        title="Test queries",
        description="Test queries it answers, drawn evenly, to measure the router with it",
    )
    prices: PricesField = ""
    seed: SeedField = 0


def check(params: AddCandidateParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: lake, router, candidate file, dataset, prices or Ray address are not what
            they must be, the router knows the candidate already, or was fitted on rewards that
            mean something else.
    """
    lake = Lake.open(params.lake, create=False)
    router = registry.resolve(lake, version=params.router)
    check_outcomes(lake, dataset=params.dataset, scorer=params.scorer)
    _check_router(params, checkpoint=router["checkpoint"], lake=lake)
    if params.candidates:
        check_candidates(params.candidates)
        _candidate(params)
        _scorers(params, lake=lake)
    read_prices(params.prices, lake=lake)
    check_ray(params)


def _check_router(params: AddCandidateParams, *, checkpoint: str, lake: Lake) -> None:
    """Refuse a candidate the router knows, and a column of other rewards than the router's own.

    Raises:
        InputError: either.
    """
    router = read_manifest(checkpoint)
    if params.name in router.candidates:
        raise InputError(
            f"router {params.router} knows candidate '{params.name}' already; its candidates: "
            f"{', '.join(router.candidates)}"
        )
    if params.normalisation == "rank":
        raise InputError(
            "--normalisation rank: a rank among the router's candidates is another one with the "
            "newcomer among them; fit a router with all of them by 'signalbox train', or take "
            "another normalisation"
        )
    label = router.label
    if not label.get("dataset"):
        return
    scorer = scorer_of(lake, dataset=label["dataset"], scorer=label["scorer"])
    found = scorer_of(lake, dataset=params.dataset, scorer=params.scorer)
    own = _scale(label["normalisation"], temperature=label.get("temperature", 1.0))
    other = _scale(params.normalisation, temperature=params.temperature)
    if (found, other) != (scorer, own):
        raise InputError(
            f"router {params.router} was fitted on rewards of scorer '{scorer}', normalisation "
            f"'{own}', and the newcomer would have those of '{found}', '{other}': take --scorer "
            f"{scorer} --normalisation {own}, or another router"
        )


def _scale(normalisation: str, *, temperature: float) -> str:
    """The flags that name a scale: only a sigmoid has a temperature."""
    if normalisation != "sigmoid":
        return normalisation
    return f"{normalisation} --temperature {temperature:g}"


@flow(name="add-candidate", persist_result=False)
def add_candidate(params: AddCandidateParams) -> Manifest:
    """Choose probes, run the candidate on them, fill its column, measure, register as challenger.

    Nothing is retrained and nobody else is run. `registry promote` makes the new version champion.
    """
    check(params)
    lake = Lake.open(params.lake, create=False)
    row = registry.resolve(lake, version=params.router)
    candidate = _candidate(params) if params.candidates else None
    with cluster_address(params.ray_address) as address:
        probe = _probe_spec(params, row=row, candidate=candidate, lake=lake)
        probed = ray_job(probe, address=address)
        if candidate is not None:
            generate = _generate_spec(candidate, requests=probed["requests"], lake=lake)
            ray_job(generate, address=address)
            ray_job(_label_spec(params, lake=lake), address=address)
        added = ray_job(
            _add_spec(params, row=row, requests=probed["requests"], lake=lake), address=address
        )
    registry.register(
        lake,
        version=added["version"],
        checkpoint=added["checkpoint"],
        method=added["method"],
        dataset=params.dataset,
        metrics=added["metrics"],
        why=f"took up {params.name} with {added['probes']} probes; was {row['version'][:12]}",
    )
    table_artifact(added["table"], key="newcomer", description=f"The router with {params.name}")
    return {"flow": "add-candidate", "lake": lake.storage.uri, "candidate": params.name, **added}


def _candidate(params: AddCandidateParams) -> Candidate:
    found = [one for one in load_candidates(params.candidates) if one.name == params.name]
    if not found:
        raise InputError(
            f"{params.candidates}: no candidate is named '{params.name}'; name one with --name"
        )
    return found[0]


def _scorers(params: AddCandidateParams, *, lake: Lake) -> tuple[Label, ...]:
    """The scorer that can reward the newcomer's answers, behind those it reads."""
    name = scorer_of(lake, dataset=params.dataset, scorer=params.scorer)
    plain = [name] if name in plugin_names("scorers") else []
    labels = read_labels(params.labels, scorers=plain, taggers=())
    found = scorers_for(name, among=labels.scorers)
    if found:
        return found
    raise InputError(
        f"rewards of scorer '{name}' came with an import and cannot be given to new answers, or "
        "with settings, whose file --labels names; else name another scorer with --scorer "
        f"({', '.join(plugin_names('scorers'))}), or import the candidate's rewards and leave "
        "--candidates out"
    )


def _probe_spec(
    params: AddCandidateParams, *, row: dict[str, str], candidate: Candidate | None, lake: Lake
) -> ProbeSpec:
    return ProbeSpec(
        lake=lake.storage.uri,
        dataset=params.dataset,
        scorer=params.scorer,
        normalisation=params.normalisation,
        temperature=params.temperature,
        router=row["version"],
        checkpoint=row["checkpoint"],
        candidate=params.name,
        candidate_id=candidate.candidate_id if candidate else "",
        scored="" if candidate else params.name,
        size=params.probes,
        test_size=params.test_queries,
        seed=params.seed,
        inputs=lake.versions(INPUTS),
    )


def _generate_spec(candidate: Candidate, *, requests: str, lake: Lake) -> GenerateSpec:
    return GenerateSpec(
        lake=lake.storage.uri,
        candidates=(candidate,),
        requests=requests,
        inputs={"completions": lake.version(COMPLETIONS)},
        shard_rows=256,
        max_error_share=0.05,
    )


def _label_spec(params: AddCandidateParams, *, lake: Lake) -> LabelSpec:
    return LabelSpec(
        lake=lake.storage.uri,
        dataset=params.dataset,
        scorers=_scorers(params, lake=lake),
        taggers=(),
        inputs={"queries": lake.version(QUERIES), "completions": lake.version(COMPLETIONS)},
    )


def _add_spec(
    params: AddCandidateParams, *, row: dict[str, str], requests: str, lake: Lake
) -> AddCandidateSpec:
    return AddCandidateSpec(
        lake=lake.storage.uri,
        candidate=params.name,
        requests=requests,
        router=row["version"],
        checkpoint=row["checkpoint"],
        dataset=params.dataset,
        scorer=params.scorer,
        normalisation=params.normalisation,
        temperature=params.temperature,
        prices=read_prices(params.prices, lake=lake),
        seed=params.seed,
        inputs=lake.versions(INPUTS),
    )


def show_result(manifest: Manifest) -> None:
    """The short table and what the newcomer changes, on stderr."""
    show_table(manifest["table"], title="test queries")
    for alarm in manifest["alarms"]:
        say(alarm)
    metrics = manifest["metrics"]
    lift = metrics["lift_over_champion"]
    low, high = metrics["lift_over_champion_low"], metrics["lift_over_champion_high"]
    say(
        f"{manifest['candidate']} gets {manifest['share']:.0%} of the test queries; the router "
        f"gains {100 * lift:+.1f} points with it, 95 % interval [{100 * low:+.1f}, "
        f"{100 * high:+.1f}]; it is registered as {manifest['version'][:12]}, challenger"
    )
