"""The answers of route: who gives them, in one round or as a cascade asks, and what they cost."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.files.source import without_extension
from cluster.jobs.answer import AnswerSpec
from cluster.jobs.escalate import EscalateSpec, check_verifier
from cluster.jobs.generate import GenerateSpec
from cluster.jobs.run import Manifest
from cluster.jobs.spending import check_spendable
from cluster.labels import Label, read_labels
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.tables import CANDIDATES, COMPLETIONS
from cluster.routing.output import is_file
from cluster.routing.spec import RouteSpec
from cluster.storage import Storage
from flows.answer_fields import AnswerFields
from tasks.jobs import ray_job
from tasks.report import say, show_columns

SHARD_ROWS = 1024


def check_answers(
    params: AnswerFields, *, policy: str, reads_answers: bool, explore: float
) -> None:
    """Make sure that the flags about answers fit each other.

    Raises:
        InputError: one is there without what it is for, or the verifier is not what it must be.
    """
    rounds = policy == "cascade" and bool(params.verifier or reads_answers)
    for name in ("max_usd", "retry_errors", "verifier"):
        if getattr(params, name) and not params.answer:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag} is about answers: add --answer, or leave it out")
    if rounds and explore:
        raise InputError(
            "--explore draws who answers, and a cascade that reads answers asks the cheapest "
            "first: leave one of the two out"
        )
    if params.labels and not params.verifier:
        raise InputError("--labels is for --verifier: name one of its scorers, or leave it out")
    if params.verifier and policy != "cascade":
        raise InputError(
            f"--verifier decides who is asked next, and --policy is {policy}: name --policy "
            "cascade with --accept-from"
        )
    if params.verifier and reads_answers:
        raise InputError(
            "--verifier: the router reads the answers itself; leave it out, or name a router that "
            "decides by the query alone"
        )
    if params.verifier:
        label = verifier_of(params)
        check_verifier(label.scorer(), name=label.name)


def verifier_of(params: AnswerFields) -> Label:
    """The scorer that `--verifier` names.

    Raises:
        InputError: there is none of that name, or its settings are not what they must be.
    """
    name = params.verifier
    known = read_labels(params.labels, scorers=(), taggers=()).scorers if params.labels else ()
    for label in known:
        if label.name == name:
            return label
    return read_labels("", scorers=(name,), taggers=()).scorers[0]


def answer_routed(
    params: AnswerFields, *, routed: Manifest, spec: RouteSpec, lake: Lake, address: str
) -> dict[str, Any]:
    """Let the candidates answer with the engines `collect` uses, and write what they say beside
    the output."""
    kept = routed["to_answer"]
    show_expected(kept["expected"])
    rounds, told = _asked_in_rounds(params, kept=kept, spec=spec, lake=lake, address=address)
    answer = AnswerSpec(
        lake=lake.storage.uri,
        work=spec.work_id,
        folder=kept["folder"],
        rounds=tuple(rounds),
        output=answers_uri(spec.output),
        prefix=spec.prefix,
        candidates=tuple(kept["candidates"]),
        candidate_ids=tuple(kept["candidate_ids"]),
        ratios=kept["ratios"],
        prices=spec.prices,
        inputs=lake.versions([COMPLETIONS]),
        overwrite=spec.overwrite,
    )
    joined = ray_job(answer, address=address)
    return joined | {"expected": kept["expected"], **told}


def _asked_in_rounds(
    params: AnswerFields, *, kept: Manifest, spec: RouteSpec, lake: Lake, address: str
) -> tuple[list[str], dict[str, Any]]:
    """The folders of what was asked, round by round, and what is told of it."""
    names = dict(zip(kept["candidate_ids"], kept["candidates"], strict=True))
    rounds, generated, escalated = [f"{kept['folder']}/asked"], [], []
    asked = _first_asked(rounds[0], names=names, lake=lake)
    left = params.max_usd or None
    while True:
        chosen = {one: name for one, name in names.items() if name in asked}
        generate = _generate_spec(
            params,
            requests=rounds[-1],
            chosen=chosen,
            spec=spec,
            lake=lake,
            max_usd=None if left is None else max(0.0, left),
        )
        done = ray_job(generate, address=address)
        generated.append(done)
        left = _less(left, done["spent_usd"])
        if not spec.rounds or done["stopped"] or len(rounds) == len(names):
            break
        step = _escalate_spec(params, requests=rounds[-1], kept=kept, spec=spec, lake=lake)
        escalated.append(ray_job(step, address=address))
        left = _less(left, escalated[-1]["verifier"]["cost_usd"])
        if not escalated[-1]["requests"]:
            break
        rounds.append(escalated[-1]["requests"])
        asked = {name for name, count in escalated[-1]["asked"].items() if count}
    return rounds, {
        "generated": [row for done in generated for row in done["candidates"]],
        "rounds": [_told(one) for one in escalated],
        "verifier_usd": _sum_known([one["verifier"]["cost_usd"] for one in escalated]),
        "spent_usd": params.max_usd - left if left is not None else None,
        "stopped": generated[-1]["stopped"],
    }


def _less(left: float | None, spent: float | None) -> float | None:
    """USD that are left of a cap; what nobody can tell counts as nothing."""
    return None if left is None else left - (spent or 0.0)


def _sum_known(costs: Sequence[float | None]) -> float | None:
    """The sum, or None where one is not known."""
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _told(escalated: Manifest) -> dict[str, Any]:
    keys = ("answered", "accepted", "asked", "policy_facts", "verifier")
    return {key: escalated[key] for key in keys}


def _first_asked(uri: str, *, names: Mapping[str, str], lake: Lake) -> set[str]:
    """Names of the candidates that are asked first."""
    options = lake.storage.polars_options()
    rows = pl.scan_parquet(f"{uri}/*.parquet", storage_options=options)
    found = rows.select(pl.col("candidate_id").unique()).collect()["candidate_id"]
    return {names[one] for one in found}


def _generate_spec(
    params: AnswerFields,
    *,
    requests: str,
    chosen: Mapping[str, str],
    spec: RouteSpec,
    lake: Lake,
    max_usd: float | None,
) -> GenerateSpec:
    candidates = answering(chosen, lake=lake)
    if max_usd is not None:
        check_spendable(candidates)
    return GenerateSpec(
        lake=lake.storage.uri,
        candidates=candidates,
        requests=requests,
        inputs=lake.versions([COMPLETIONS]),
        shard_rows=SHARD_ROWS,
        max_error_share=spec.max_error_share,
        retry_errors=params.retry_errors,
        max_usd=max_usd,
    )


def _escalate_spec(
    params: AnswerFields, *, requests: str, kept: Manifest, spec: RouteSpec, lake: Lake
) -> EscalateSpec:
    by_router = {} if params.verifier else {"router": spec.router, "checkpoint": spec.checkpoint}
    return EscalateSpec(
        lake=lake.storage.uri,
        requests=requests,
        policy=spec.policy,
        policy_settings=spec.policy_settings,
        candidates=tuple(kept["candidates"]),
        candidate_ids=tuple(kept["candidate_ids"]),
        verifier=verifier_of(params) if params.verifier else None,
        inputs=lake.versions([COMPLETIONS]),
        **by_router,
    )


def answers_uri(output: str) -> str:
    """`routed.csv` → `routed.answers.csv`; a folder `routed` → `routed.answers.parquet`."""
    uri = Storage.at(output).uri
    if not is_file(uri):
        return f"{uri}.answers.parquet"
    folder, name = uri.rsplit("/", 1)
    stem, ending = without_extension(name)
    return f"{folder}/{stem}.answers.{ending}"


def answering(chosen: Mapping[str, str], *, lake: Lake) -> tuple[Candidate, ...]:
    """The specs of candidates (id → name); one answer a query is enough.

    Raises:
        InputError: one was imported as scores and cannot answer.
    """
    found = served(chosen, lake=lake)
    for name, candidate in found.items():
        if candidate is None:
            raise InputError(
                f"--answer: candidate '{name}' was imported as scores and cannot answer; collect "
                "with a candidate file that has it, or leave --answer out"
            )
    return tuple(one for one in found.values() if one is not None)


def served(chosen: Mapping[str, str], *, lake: Lake) -> dict[str, Candidate | None]:
    """The specs of candidates (id → name) by name; None for one that was imported as scores."""
    specs = newest_specs(lake.scan(CANDIDATES)).filter(pl.col("candidate_id").is_in(list(chosen)))
    found: dict[str, Candidate | None] = {}
    for candidate_id, spec in specs.select("candidate_id", "spec").collect().iter_rows():
        name = chosen[candidate_id]
        found[name] = None
        if "imported" not in json.loads(spec):
            candidate = Candidate.model_validate_json(spec)
            found[name] = candidate.model_copy(update={"samples": 1})
    return {name: found.get(name) for name in chosen.values()}


def show_expected(rows: Sequence[Mapping[str, Any]]) -> None:
    """What the answers are expected to come to, before anybody is asked."""
    own = [row for row in rows if row["requests"]]
    columns = ("candidate", "requests", "prompt_tokens", "completion_tokens", "usd")
    show_columns([{key: row[key] for key in columns} for row in own], title="expected answers")


def show_answers(answers: Mapping[str, Any]) -> None:
    """What they came to, beside what was expected of the same ones."""
    rows = [
        {
            "candidate": row["candidate"],
            "answers": row["answered"],
            "errors": row["errors"],
            "tokens": row["prompt_tokens"] + row["completion_tokens"],
            "expected": _sum(row["predicted"]),
            "USD": row["usd"],
            "expected USD": row["predicted"]["usd"],
        }
        for row in answers["candidates"]
    ]
    show_columns(rows, title="answers")
    if answers["verifier_usd"] != 0:
        told = answers["verifier_usd"]
        say(f"the verifier cost {'unknown' if told is None else f'{told:,.4g}'} USD beside that")
    if answers["stopped"]:
        left = sum(row["unasked"] for row in answers["candidates"])
        say(
            f"stopped at --max-usd: {answers['spent_usd']:.4g} USD are spent, everything answered "
            f"is kept. Left: {left:,} requests. Run it again to go on"
        )


def _sum(predicted: Mapping[str, Any]) -> float | None:
    both = (predicted["prompt_tokens"], predicted["completion_tokens"])
    return None if None in both else both[0] + both[1]
