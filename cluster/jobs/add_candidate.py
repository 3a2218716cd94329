"""The add_candidate job: a router that takes up a candidate without being fitted again."""

import io
from dataclasses import replace
from importlib.metadata import version as package_version
from typing import ClassVar

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.evaluation.harness import Evaluation, evaluate
from cluster.evaluation.metrics import CHAMPION
from cluster.jobs.fitting import short_table, tokens_per_character
from cluster.jobs.kept_outcomes import fitted_on, keep_outcomes, outcomes_frame
from cluster.jobs.probe import PROBE, TEST
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.jobs.train import headlines
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.normalisation import Normalisation
from cluster.outcome import OutcomeMatrix
from cluster.policies import load_policy
from cluster.price import Price
from cluster.routers.checkpoint import (
    Checkpoint,
    CheckpointMeta,
    checkpoint_files,
    load_checkpoint,
    save_checkpoint,
    version_of,
)
from cluster.routers.means import task_means
from cluster.routers.newcomer import with_candidate
from cluster.routers.router import Router

# What the router with the newcomer goes by in its evaluation; the one before is the champion.
WIDENED = "with_newcomer"
SHOWN_AS = {CHAMPION: "router without it", WIDENED: "router with it"}


class AddCandidateSpec(JobSpec):
    """What to add to what.

    Attributes:
        candidate: readable name of the newcomer.
        requests: file of the probe job: which queries it was run on, and for what.
        router, checkpoint: version and place of the router.
        dataset, scorer, normalisation, temperature: of the outcomes.
        prices: by candidate's name; may be empty.
        seed: of everything random.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "add_candidate"

    candidate: str
    requests: str
    router: str
    checkpoint: str
    dataset: str
    scorer: str
    normalisation: Normalisation
    temperature: float = 1.0
    prices: dict[str, Price]
    seed: int
    inputs: dict[str, int]


def add_candidate(spec: AddCandidateSpec, run: Run) -> Manifest:
    """Fill the newcomer's column, measure the router with and without it, save the checkpoint.

    Raises:
        InputError: the newcomer has no rewards on the probe or on the test draw, or the router's
            method cannot take one up.
    """
    lake = Lake.open(spec.lake)
    before = load_checkpoint(spec.checkpoint, version=spec.router)
    requests = pl.read_parquet(io.BytesIO(run.storage.read_bytes(spec.requests)))
    outcomes = read_outcomes(
        lake,
        dataset=spec.dataset,
        scorer=spec.scorer,
        normalisation=spec.normalisation,
        temperature=spec.temperature,
        candidates=(*before.router.candidates, spec.candidate),
        versions=spec.inputs,
    )
    probe = rows_of(outcomes, requests=requests, role=PROBE)
    widened = with_candidate(before.router, spec.candidate, probe=probe, seed=spec.seed)
    evaluation = _evaluate(spec, outcomes=outcomes, requests=requests, before=before, after=widened)
    meta = _meta(spec, before=before, outcomes=outcomes, probes=len(probe))
    version = version_of(checkpoint_files(widened, meta=meta, beside=before.beside))
    uri = lake.storage.join("checkpoints", version)
    save_checkpoint(widened, uri, meta=meta, beside=before.beside)
    _keep_outcomes(probe, uri=uri, before=spec.checkpoint, lake=lake)
    column = outcomes.candidates.index(spec.candidate)
    table = short_table(evaluation)
    share = evaluation.routes[WIDENED][:, column].mean()
    return {
        "outputs": [f"{uri}/router.json"],
        "version": version,
        "checkpoint": uri,
        "method": before.router.method,
        "metrics": headlines(evaluation.rows, method=WIDENED),
        "share": float(share),
        "probes": int(probe.mask[:, column].sum()),
        "test_queries": len(evaluation.outcomes),
        "alarms": [_shown(alarm) for alarm in evaluation.alarms],
        "table": [row | {"method": SHOWN_AS.get(row["method"], row["method"])} for row in table],
    }


def _shown(sentence: str) -> str:
    """An alarm under the names that are shown."""
    for name, shown in SHOWN_AS.items():
        sentence = sentence.replace(f"{name} ", f"{shown} ")
    return sentence


def _keep_outcomes(probe: OutcomeMatrix, *, uri: str, before: str, lake: Lake) -> None:
    """Store what the router before was fitted on, and the probe, beside the new checkpoint."""
    own = outcomes_frame(probe)
    known = fitted_on(before, lake=lake)
    if known is not None:
        own = pl.concat([known, own.join(known, on="query_id", how="anti")], how="diagonal")
    keep_outcomes(own, checkpoint=uri, lake=lake)


def rows_of(outcomes: OutcomeMatrix, *, requests: pl.DataFrame, role: str) -> OutcomeMatrix:
    """The outcomes of the requests of a role, with the probability they were drawn with."""
    own = requests.filter(pl.col("role") == role).select(
        "query_id", drawn=pl.col("sampling_probability")
    )
    joined = outcomes.queries.with_row_index("row").join(own, on="query_id", maintain_order="left")
    rows = outcomes.take(joined["row"].to_numpy().astype("int64"))
    queries = rows.queries.with_columns(sampling_probability=joined["drawn"])
    return replace(rows, queries=queries)


def standing_for_all(
    train: OutcomeMatrix, *, probe: OutcomeMatrix, candidate: str
) -> OutcomeMatrix:
    """The training rows, on each the newcomer's mean over the probes of the row's task.

    What baselines are fitted on: best single and the mixes compare candidates' means, and probes
    are those that are disputed. Each counts for the queries it was drawn for; on a made-up dataset
    the mean was .78, over the probes as they are .67.
    """
    column = train.candidates.index(candidate)
    weight = 1.0 / probe.queries["sampling_probability"].to_numpy()
    filled = {}
    for name in ("reward", "prompt_tokens", "completion_tokens", "cost_usd"):
        new = getattr(probe, name)[:, column]
        counted = np.column_stack([new * weight, np.where(np.isnan(new), np.nan, weight)])
        tasks, totals = task_means(counted, probe.tasks)
        means = dict(zip(tasks.tolist(), (totals[:, 0] / totals[:, 1]).tolist(), strict=True))
        filled[name] = getattr(train, name).copy()
        filled[name][:, column] = [means.get(task, np.nan) for task in train.tasks.tolist()]
    return replace(train, **filled)


def _evaluate(
    spec: AddCandidateSpec,
    *,
    outcomes: OutcomeMatrix,
    requests: pl.DataFrame,
    before: Checkpoint,
    after: Router,
) -> Evaluation:
    test = rows_of(outcomes, requests=requests, role=TEST)
    train = outcomes.on_splits(["train", "validation"])
    probe = rows_of(outcomes, requests=requests, role=PROBE)
    return evaluate(
        standing_for_all(train, probe=probe, candidate=spec.candidate),
        test,
        routers={CHAMPION: before.router, WIDENED: after},
        prices=spec.prices,
        policy=load_policy("best"),
        seed=spec.seed,
        dataset=spec.dataset,
    )


def _meta(
    spec: AddCandidateSpec, *, before: Checkpoint, outcomes: OutcomeMatrix, probes: int
) -> CheckpointMeta:
    """What was known about the router, and where its new column is from."""
    known = {name: getattr(before.meta, name) for name in CheckpointMeta.model_fields}
    place = outcomes.candidates.index(spec.candidate)
    key = "prompt_tokens_per_character"
    ratios = {
        **before.meta.data.get(key, {}),
        spec.candidate: tokens_per_character(outcomes)[spec.candidate],
    }
    taken_up = {"candidate": spec.candidate, "probes": probes, "router_before": spec.router}
    known |= {
        "candidate_ids": (*before.meta.candidate_ids, outcomes.candidate_ids[place]),
        "data": {**before.meta.data, key: ratios, "taken_up": taken_up},
        "metrics": {},
        "code_version": package_version("signalbox"),
    }
    if spec.candidate in before.router.candidates:
        raise InputError(f"candidate '{spec.candidate}' is one of the router's already")
    return CheckpointMeta(**known)


if __name__ == "__main__":
    main(AddCandidateSpec, work=add_candidate)
