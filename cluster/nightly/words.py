"""What a night came to, in words: for the terminal, for the page, for whoever is notified."""

from collections.abc import Mapping
from typing import Any, Literal

from cluster.routing.policy_words import number

Verdict = Literal["promoted", "kept", "nothing new", "nothing to learn from", "not measured"]
SHOWN = 12


def verdict(manifest: Mapping[str, Any]) -> Verdict:
    """How the night ended."""
    decision = manifest["decision"]
    if decision:
        return "promoted" if decision["promoted"] else "kept"
    if manifest["routers"]:
        return "not measured"
    return "nothing to learn from" if _has_come(manifest) else "nothing new"


def why(manifest: Mapping[str, Any]) -> str:
    """The reason, in words."""
    decision = manifest["decision"]
    if decision:
        return str(decision["why"])
    return {
        "nothing new": "no new query, answer or reward since the last night; nothing was spent",
        "nothing to learn from": _without_reward(manifest),
        "not measured": "the dataset has no rewards to measure by",
    }[verdict(manifest)]


def _without_reward(manifest: Mapping[str, Any]) -> str:
    if manifest["new"]["queries"] and not manifest["candidates"]:
        return "queries have come, but nobody is there to answer them: give a candidate file"
    return "something has come, but no reward since the last night"


def subject(manifest: Mapping[str, Any]) -> str:
    """One line: which night, and how it ended."""
    decision, how = manifest["decision"], verdict(manifest)
    if how == "promoted":
        how_words = f"{decision['method']} {decision['version'][:SHOWN]} is champion now"
    elif how == "kept":
        how_words = "the champion stays" if manifest["champion"] else "there is still no champion"
    else:
        how_words = how
    return f"signalbox: night {manifest['number']} of {manifest['dataset']}: {how_words}"


def headline(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few numbers to look at first: name and value."""
    new = manifest["new"]
    told = [
        ("new queries", f"{new['queries']:,}"),
        ("new answers", f"{new['answers']:,}"),
        ("new rewards", f"{new['rewards']:,}"),
        ("spent, USD", _spent(manifest)),
    ]
    refused = [row for row in manifest["admissions"] if row["refused"]]
    if manifest["admissions"]:
        told.append(("batches kept out", f"{len(refused)} of {len(manifest['admissions'])}"))
    drift = (manifest["drift"] or {}).get("drift")
    if drift:
        told.append(("drift (population stability index)", f"{drift['psi']:.2f}"))
    told.append(("verdict", manifest["verdict"]))
    return told


def words(manifest: Mapping[str, Any]) -> list[str]:
    """Sentences: the reason first, then what the reader must know."""
    told = [f"{manifest['verdict']}: {manifest['why']}"]
    abandoned = manifest["abandoned"]
    if abandoned:
        told.append(
            f"night {abandoned['number']} was abandoned: {abandoned['why']}; what it had answered "
            "is kept and was not paid for again"
        )
    unavailable = manifest["unavailable"]
    if unavailable:
        told.append(
            f"champion {unavailable['version'][:SHOWN]} may choose "
            f"{', '.join(unavailable['candidates'])}, not in the candidate file as it is there: "
            "nobody answers what it sends there; put it back, or promote a router that does without"
        )
    told += [f"left for the next night: {file['uri']}: {file['why']}" for file in manifest["left"]]
    if manifest["stopped"]:
        told.append(
            f"stopped at --max-usd: {_spent(manifest)} USD are spent, everything answered is kept, "
            "and the next night goes on"
        )
    told += [
        f"not asked: {row['queries']:,} queries of '{row['dataset']}' have no reference, without "
        f"which {', '.join(row['scorers'])} rewards nothing; a judge or a reward model in --labels "
        "would, and so does another scorer that needs none"
        for row in manifest["unasked"]
    ]
    told += [
        f"kept out of training: {row['batch']}: {row['why']}"
        for row in manifest["admissions"]
        if row["refused"]
    ]
    drift = manifest["drift"]
    if drift and drift["alarms"]:
        told.append(f"drift: {drift['words']}")
    return [*told, *manifest["alarms"]]


def _has_come(manifest: Mapping[str, Any]) -> bool:
    return any(value != 0 for value in manifest["new"].values()) or bool(manifest["files"])


def _spent(manifest: Mapping[str, Any]) -> str:
    return number(manifest["spent_usd"])
