"""The probe job: which queries a new candidate is run on, to be taken up by a fitted router.

Two kinds: the probe, from train and validation, which its column is filled from, and a uniform
draw of test queries, which only the evaluation of the widened router sees.
"""

import hashlib
import io
from typing import ClassVar

import numpy as np
import polars as pl

from cluster.encoders.lexical import LexicalEncoder
from cluster.errors import InputError
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.lake.outcomes import read_outcomes
from cluster.lake.probe import choose_probe
from cluster.lake.tables import QUERIES
from cluster.normalisation import Normalisation
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import load_router
from cluster.routers.near_duplicates import near_duplicates
from cluster.routers.newcomer.rehearsal import rehearse

PROBE, TEST = "probe", "test"


class ProbeSpec(JobSpec):
    """What to choose.

    Attributes:
        dataset, scorer, normalisation, temperature: of the outcomes that are known.
        router, checkpoint: version and place of the router the candidate is to join.
        candidate: readable name of the new candidate.
        candidate_id: of the new candidate, who answers all that is chosen.
        scored: name of the new candidate where its rewards are in the lake already; then only
            queries that have one are chosen. Empty: it is yet to be run.
        size, test_size: queries of either kind.
        seed: of the choice.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "probe"

    dataset: str
    scorer: str
    normalisation: Normalisation
    temperature: float = 1.0
    router: str
    checkpoint: str
    candidate: str
    candidate_id: str
    scored: str = ""
    size: int
    test_size: int
    seed: int
    inputs: dict[str, int]


def probe(spec: ProbeSpec, run: Run) -> Manifest:
    """Choose, and write the requests the candidate answers; returns their counts.

    Requests are Parquet: `query_id`, `text`, `messages`, `candidate_id`, `role` ("probe" or
    "test") and `sampling_probability`.

    Raises:
        InputError: the dataset lacks a candidate of the router, or has nothing to choose from, or
            the router cannot take a candidate up: told before the newcomer answers anything.
    """
    lake = Lake.open(spec.lake)
    router = load_router(spec.checkpoint, version=spec.router)
    known = known_outcomes(spec, lake=lake, candidates=router.candidates)
    chosen = choose(known, size=spec.size, test_size=spec.test_size, seed=spec.seed)
    probes = known.queries["query_id"].is_in(chosen.filter(role=PROBE)["query_id"].implode())
    rehearse(router, spec.candidate, known=known.take(probes.to_numpy()))
    asked = lake.scan(QUERIES, version=spec.inputs[QUERIES.name]).select("query_id", "messages")
    requests = chosen.join(asked.collect(), on="query_id", how="left", maintain_order="left")
    uri = run.uri("requests.parquet")
    content = io.BytesIO()
    requests.with_columns(candidate_id=pl.lit(spec.candidate_id)).write_parquet(content)
    lake.storage.write(uri, content.getvalue())
    counts = dict(requests["role"].value_counts().iter_rows())
    return {
        "outputs": [uri],
        "requests": uri,
        **{f"{role}_queries": n for role, n in counts.items()},
    }


def known_outcomes(spec: ProbeSpec, *, lake: Lake, candidates: tuple[str, ...]) -> OutcomeMatrix:
    """What may be chosen from, with the rewards of the candidates that the router knows."""

    def read(names: tuple[str, ...]) -> OutcomeMatrix:
        return read_outcomes(
            lake,
            dataset=spec.dataset,
            scorer=spec.scorer,
            normalisation=spec.normalisation,
            temperature=spec.temperature,
            candidates=names,
            versions=spec.inputs,
        )

    known = read(candidates)
    if not spec.scored:
        return known
    return known.take(np.asarray(read((*candidates, spec.scored)).mask[:, -1]))


def choose(known: OutcomeMatrix, *, size: int, test_size: int, seed: int) -> pl.DataFrame:
    """`query_id`, `text`, `role`, `sampling_probability` of what is chosen.

    Raises:
        InputError: there is no query of split train or validation, or none of split test.
    """
    test = draw_test(known, size=test_size)
    # What nearly repeats a measured query is no more for a probe than for a fit.
    usable = known.take(~near_duplicates(known.texts, held_out=test["text"]))
    encoder = LexicalEncoder().fit(usable.texts, seed=seed)
    vectors = encoder.encode(usable.texts)
    drawn = choose_probe(usable, vectors=vectors, size=size, seed=seed).queries
    parts = [(drawn, PROBE), (test, TEST)]
    columns = ("query_id", "text", "sampling_probability")
    return pl.concat([rows.select(columns).with_columns(role=pl.lit(role)) for rows, role in parts])


def draw_test(known: OutcomeMatrix, *, size: int) -> pl.DataFrame:
    """A uniform draw of complete test queries, by their texts' hash: a larger one holds a smaller.

    Raises:
        InputError: there is none.
    """
    test = known.on_splits(["test"]).complete().queries
    if not test.height:
        raise InputError(
            "no test query has a reward of all the router's candidates: nothing to evaluate on"
        )
    lottery = [hashlib.sha256(f"probe\n{text}".encode()).digest() for text in test["text"]]
    order = sorted(range(test.height), key=lambda row: lottery[row])
    return test[np.sort(order[:size])]


if __name__ == "__main__":
    main(ProbeSpec, work=probe)
