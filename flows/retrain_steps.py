"""The steps of a night, each one done once: what it settles is kept in the night's folder."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from cluster import registry
from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.failpoint import failpoint
from cluster.gate.decision import Decision
from cluster.gate.snapshot import Measure, current
from cluster.gate.spending import decision_on
from cluster.jobs.choose import ChooseSpec
from cluster.jobs.drift import DriftSpec
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.run import Manifest
from cluster.jobs.spending import paid
from cluster.jobs.take import TakeSpec
from cluster.jobs.train import TrainSpec
from cluster.labels import Label, need_references, read_labels
from cluster.lake.lake import Lake
from cluster.lake.outcomes import has_rewards, scorer_names
from cluster.lake.plan import plan_candidate, required_samples
from cluster.lake.tables import QUERIES, REWARDS
from cluster.nightly.night import Facts, Night
from cluster.nightly.standing import Standing
from cluster.nightly.watched import WatchedFile
from cluster.nightly.words import verdict, why
from cluster.query import has_reference
from flows.collect import choose_spec, generate_spec, label_spec
from flows.retrain_choices import Choices, unavailable
from flows.retrain_params import RetrainParams
from flows.train import best_of, promote_best, register_trained, snapshot_of, train_spec
from tasks.gate import admit
from tasks.jobs import ray_job

LOG = logging.getLogger("signalbox.retrain")
COLUMNS = ("text_column", "task_column", "reference_column", "messages_column")


@dataclass
class Steps:
    """A night's work.

    Attributes:
        params: of the flow.
        night: what it began with and has settled.
        lake: where.
        candidates: who answers, as they were when the night began.
        scorers: who rewards.
    """

    params: RetrainParams
    night: Night
    lake: Lake
    candidates: list[Candidate] = field(init=False)
    scorers: tuple[Label, ...] = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self.candidates = [Candidate(**one) for one in self.night.begun["candidates"]]
        self.scorers = read_labels(
            params.labels, scorers=params.scorers, taggers=params.taggers
        ).scorers

    def datasets(self) -> list[str]:
        """Those of tonight's that have a query in the lake."""
        there = self.lake.scan(QUERIES).select(pl.col("dataset").unique()).collect()["dataset"]
        wanted = dict.fromkeys((self.params.dataset, *self.params.routed))
        return [name for name in wanted if name in there]

    def standing(self) -> Standing:
        """What the lake holds by now."""
        return Standing.of(self.lake, datasets=self.datasets())

    def is_anything_new(self) -> bool:
        """Whether there is a file, an answer that is missing, or anything since the last night."""
        before = self.night.begun["standing"]
        if self.night.begun["files"] or before is None or Standing(**before) != self.standing():
            return bool(self.datasets() or self.night.begun["files"])
        return any(self._missing(name) for name in self.datasets())

    def run(self, *, address: str) -> Manifest:
        """All steps that there is something to do for; what each of them came to."""
        found: Manifest = {"taken": self._take(address=address), "collected": []}
        if self.candidates:
            found["collected"] = [
                self._collect(name, address=address, number=number)
                for number, name in enumerate(self.datasets())
            ]
        failpoint("retrain.collected")
        found["admissions"] = self._admit(address=address)
        failpoint("retrain.admitted")
        found["drift"] = self._drift(address=address)
        if self._is_anything_to_learn():
            found["trained"] = self._train(address=address)
            found["decision"] = self._decide(found["trained"], address=address)
        failpoint("retrain.done")
        return found

    def _take(self, *, address: str) -> Manifest:
        """The new files' queries."""
        files = [WatchedFile(**file) for file in self.night.begun["files"]]
        if not files:
            return {"taken": [], "left": [], "new_queries": 0}
        columns = {name: getattr(self.params, name) for name in COLUMNS}
        spec = TakeSpec(
            lake=self.lake.storage.uri,
            files=tuple(files),
            dataset=self.params.dataset,
            max_error_share=self.params.max_error_share,
            **columns,
        )
        return ray_job(spec, address=address)

    def _queries(self, dataset: str) -> pl.LazyFrame:
        return self.lake.scan(QUERIES).filter(pl.col("dataset") == dataset)

    def _pays_for_references_alone(self) -> bool:
        """Whether answers to queries without a reference would be paid for in vain."""
        return need_references(self.scorers)

    def _unasked(self) -> list[dict[str, Any]]:
        """`dataset`, `queries`, `scorers`: how many queries nobody is asked, as no scorer has a
        reward for what would be answered."""
        if not self.candidates or not self._pays_for_references_alone():
            return []
        names = [label.name for label in self.scorers]
        counts = [
            (name, self._queries(name).filter(~has_reference()).select(pl.len()).collect().item())
            for name in self.datasets()
        ]
        return [
            {"dataset": name, "queries": count, "scorers": names} for name, count in counts if count
        ]

    def _missing(self, dataset: str) -> int:
        """Answers to a dataset's queries that are worth paying for and nobody has given yet."""
        own = self._queries(dataset)
        if self._pays_for_references_alone():
            own = own.filter(has_reference())
        ids = own.select("query_id").collect()["query_id"]
        return sum(
            plan_candidate(
                required_samples(ids, samples=candidate.samples),
                lake=self.lake,
                candidate_id=candidate.candidate_id,
                adopt=False,
            ).missing.height
            for candidate in self.candidates
        )

    def _collect(self, dataset: str, *, address: str, number: int) -> Manifest:
        """Answers and rewards of a dataset, with what is left of the night's money."""
        step = f"generate-{number}"
        generated: Manifest = {}
        if self.night.settled(step) is not None or self._missing(dataset):
            settled = self.night.settle(
                step, lambda: self._generate_spec(dataset, address=address).model_dump(mode="json")
            )
            generated = ray_job(GenerateSpec(**settled), address=address)
        collect = self.params.collect(dataset=dataset)
        label = label_spec(collect, queries=self.lake.version(QUERIES), lake=self.lake)
        labelled = ray_job(label, address=address)
        return {"dataset": dataset, "generate": generated, "label": labelled}

    def _generate_spec(self, dataset: str, *, address: str) -> GenerateSpec:
        """Who answers what of a dataset, and for how much."""
        begun = self.night.begun
        collect = self.params.collect(dataset=dataset)
        requests = ""
        if begun["budget"]:
            requests = ray_job(self._choose_spec(dataset), address=address)["requests"]
        spec = generate_spec(
            collect,
            candidates=self.candidates,
            queries=self.lake.version(QUERIES),
            requests=requests,
            lake=self.lake,
        )
        cap = {"max_usd": begun["max_usd"], "paid_before": begun["paid"]}
        settled = cap if begun["max_usd"] else {"max_usd": None}
        referenced = {"referenced": self._pays_for_references_alone()}
        return spec.model_copy(update=settled | referenced)

    def _choose_spec(self, dataset: str) -> ChooseSpec:
        collect = self.params.collect(dataset=dataset)
        spec = choose_spec(collect, candidates=self.candidates, lake=self.lake)
        settled = {
            "size": self.night.begun["budget"],
            "referenced": self._pays_for_references_alone(),
        }
        return spec.model_copy(update=settled)

    def _measure(self, dataset: str) -> Measure:
        params = self.params
        return Measure(dataset, params.scorer, params.normalisation, params.temperature)

    def _admit(self, *, address: str) -> list[dict[str, Any]]:
        """What was found about the batches of new labels of every dataset that has any.

        Labels are looked at from the first snapshot on: what was there before is trusted.
        """
        found = self.night.settle("admitted", lambda: self._admitted(address=address))
        return list(found["admissions"])

    def _admitted(self, *, address: str) -> Facts:
        """Settled though there is no snapshot yet: a rerun finds the one this night froze."""
        name = self.params.dataset
        rewarded = name in self.datasets() and has_rewards(self.lake, dataset=name)
        snapshot = current(self.lake, measure=self._measure(name)) if rewarded else None
        if snapshot is None:
            return {"admissions": []}
        admissions = [
            admit(
                self.night.name,
                snapshot=snapshot.name,
                lake=self.lake,
                before=self.night.begun["rewards"],
                address=address,
                measure=replace(snapshot.measure, dataset=dataset),
            )
            for dataset in self.datasets()
            if snapshot.scorer in scorer_names(self.lake, dataset=dataset)
        ]
        return {"admissions": [one.as_json() for batch in admissions for one in batch]}

    def _champion(self) -> tuple[str, str] | None:
        """Version and checkpoint of the champion there was when the night began."""
        version = self.night.begun["champion"]
        if version is None:
            return None
        return version, registry.resolve(self.lake, version=version)["checkpoint"]

    def _drift(self, *, address: str) -> Manifest | None:
        """How far what has come is from what the champion was trained on."""
        champion = self._champion()
        if champion is None:
            return None
        spec = DriftSpec(
            lake=self.lake.storage.uri,
            datasets=tuple(self.datasets()),
            router=champion,
            inputs=self.lake.versions((QUERIES,)),
        )
        return ray_job(spec, address=address)

    def _is_anything_to_learn(self) -> bool:
        """Whether there are rewards, and others than the last night had."""
        before, now = self.night.begun["standing"], self.standing()
        if before is None or not now.rewards:
            return bool(now.rewards)
        return (before["rewards"], before["released"]) != (now.rewards, now.released)

    def _train(self, *, address: str) -> Manifest:
        """The methods, fitted on what is there by now and registered."""
        settled = self.night.settle("train", lambda: self._train_spec().model_dump(mode="json"))
        trained = ray_job(TrainSpec(**settled), address=address)
        for router in trained["routers"]:
            register_trained(router, params=self.params.train(), lake=self.lake)
            failpoint("retrain.registered")
        return trained

    def _train_spec(self) -> TrainSpec:
        """Against the champion of the night's begin, and without what repeats the snapshot."""
        also = tuple(name for name in self.datasets() if name != self.params.dataset)
        try:
            snapshot = snapshot_of(self.params.train(), lake=self.lake)
        except InputError as error:
            # Too few test rows as yet: what is trained waits for a night that can measure it.
            LOG.warning("no snapshot can be frozen: %s", error)
            snapshot = ""
        spec = train_spec(self.params.train(), lake=self.lake, snapshot=snapshot)
        start = self.night.begun["start"] if self.params.warm_start else {}
        changes = {"also": also, "champion": self._champion(), "start": start}
        # Checked again: what a night has kept is JSON.
        spec = TrainSpec(**(spec.model_dump() | changes))
        return spec.model_copy(update={"candidates": self._choices(spec).names})

    def _choices(self, spec: TrainSpec) -> Choices:
        return Choices.of(self.candidates, spec=spec, lake=self.lake)

    def _decide(self, trained: Manifest, *, address: str) -> dict[str, Any] | None:
        """The gate's word on the best of tonight's routers; None where nothing was measured."""
        if not trained["table"]:
            return None
        return self.night.settle("decision", lambda: self._gate(trained, address=address))

    def _gate(self, trained: Manifest, *, address: str) -> dict[str, Any]:
        spec = TrainSpec(**(self.night.settled("train") or {}))
        best = best_of(trained)
        told = {"method": best["method"], "against": self.night.begun["champion"]}
        if not spec.snapshot:
            why = (
                "too few test queries have a reward of every candidate as yet to freeze a snapshot "
                "of and measure by"
            )
            return told | {"version": best["version"], **Decision(promote=False, why=why).as_json()}
        decision = promote_best(
            trained,
            snapshot=spec.snapshot,
            prices=spec.prices,
            lake=self.lake,
            address=address,
            gone=tuple(sorted(self._choices(spec).gone)),
        )
        failpoint("retrain.decided")
        version = decision["version"]
        if version == registry.champion(self.lake) and version != self.night.begun["champion"]:
            # This night has promoted it, and may have been killed before it could note so.
            decided = decision_on(self.lake, version=version)
            decision |= decided.as_json() if decided else {"promoted": True}
        return told | decision

    def manifest(self, found: Manifest) -> Manifest:
        """What the night came to, for its page, its artifacts and whoever is told.

        The same whether it ran through or was killed and run again.
        """
        begun, standing = self.night.begun, self.standing()
        taken = found.get("taken", {"taken": [], "left": []})
        trained = found.get("trained") or {}
        before = begun["standing"] or dict.fromkeys(standing.as_json(), 0)
        spent = paid(self.candidates, lake=self.lake) - begun["paid"] if self.candidates else 0.0
        new = {name: value - before[name] for name, value in standing.as_json().items()}
        manifest = {
            "flow": "retrain",
            "lake": self.lake.storage.uri,
            "dataset": self.params.dataset,
            "night": self.night.name,
            "number": self.night.number,
            "began": begun["at"],
            "abandoned": begun.get("abandoned"),
            "candidates": [one.name for one in self.candidates],
            "files": taken["taken"],
            "left": [*begun["left"], *taken["left"]],
            "new": new,
            "answers": _answers(found.get("collected", [])),
            "spent_usd": spent,
            "max_usd": begun["max_usd"],
            "unasked": self._unasked(),
            "stopped": any(one["generate"].get("stopped") for one in found.get("collected", [])),
            "rewards": _rewards(found.get("collected", [])),
            "admissions": [_admission(one) for one in found.get("admissions", [])],
            "drift": found.get("drift"),
            "routers": [_router(one) for one in trained.get("routers", [])],
            "training": trained.get("training", []),
            "begun": trained.get("begun", {}),
            "table": trained.get("table", []),
            "alarms": trained.get("alarms", []),
            "picture": trained.get("picture"),
            "rows": trained.get("rows", {}),
            "decision": found.get("decision"),
            "champion": registry.champion(self.lake),
            "unavailable": unavailable(self.candidates, lake=self.lake),
            "rewards_version": self._rewards_version(),
            "standing": standing.as_json(),
        }
        return manifest | {"verdict": verdict(manifest), "why": why(manifest)}

    def _rewards_version(self) -> int:
        """Of the rewards that were trained on, or were there before, where nothing was trained."""
        settled = self.night.settled("train")
        return int(settled["inputs"][REWARDS.name] if settled else self.night.begun["rewards"])


def _answers(collected: list[Manifest]) -> list[dict[str, Any]]:
    """One row a dataset and candidate."""
    names = ("name", "required", "done", "errors", "truncated", "stopped")
    return [
        {"dataset": one["dataset"], **{name: row[name] for name in names}}
        for one in collected
        for row in one["generate"].get("candidates", [])
    ]


def _rewards(collected: list[Manifest]) -> list[dict[str, Any]]:
    """One row a dataset and scorer."""
    names = ("new", "without_reward", "mean")
    return [
        {"dataset": one["dataset"], "scorer": name, **{key: counts[key] for key in names}}
        for one in collected
        for name, counts in one["label"]["rewards"].items()
    ]


def _admission(found: dict[str, Any]) -> dict[str, Any]:
    """Of queries judged together how many: 2,000 ids a batch, which the lake keeps, are 130 kB."""
    return found | {"small": len(found.get("small", ()))}


def _router(trained: dict[str, Any]) -> dict[str, Any]:
    names = ("method", "version", "validation_macro_reward")
    return {name: trained[name] for name in names}
