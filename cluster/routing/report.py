"""The report on a routed file, made of the run's manifest alone: one HTML file, nothing fetched."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cluster.drift.drift import CHANGED, UNKNOWN
from cluster.evaluation.charts import Styles
from cluster.evaluation.page import STYLE, cells, folded, nothing, section, table_html
from cluster.evaluation.styles import styles
from cluster.quality.report import TILES
from cluster.routing import report_charts as charts
from cluster.routing.constraint_words import run_words
from cluster.routing.policy_words import number

# Tables of words, which are read from the left and may take several lines.
WORDS = """
.words th,.words td{text-align:left;vertical-align:top}
.words td{white-space:normal;overflow-wrap:anywhere}
"""
DASH = "–"
MOST_FILES = 20


def report(manifest: Mapping[str, Any]) -> bytes:
    """The page as UTF-8 HTML.

    Args:
        manifest: of a route job.
    """
    title = f"Routed: {_file_name(manifest)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(manifest),
        _alarms(manifest),
        _policy(manifest),
        _shares(manifest),
        _against(manifest),
        _tags(manifest),
        _drift(manifest),
        _left_out(manifest),
        _feedback(manifest),
        _facts(manifest),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}{TILES}{WORDS}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    ).encode()


def headline(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few numbers to look at first: name and value."""
    best, own = best_single(manifest), manifest["predicted_reward"]
    cost, always = manifest["predicted_cost_usd"], _cost_if_always(manifest).get(best)
    told = [("queries", f"{manifest['rows']:,}"), ("predicted reward", _reward(own, digits=3))]
    if best and own is not None:
        gain = own - manifest["predicted_reward_if_always"][best]
        told.append((f"against always {best}", signed(gain)))
    if cost is not None:
        told.append(("predicted cost, USD", number(cost)))
    if cost is not None and always:
        told.append((f"of the cost of always {best}", f"{100 * cost / always:.1f} %"))
    drift = manifest.get("drift")
    if drift:
        told.append(("drift (population stability index)", f"{drift['psi']:.2f}"))
    if manifest.get("broken"):
        told.append(("rows left out", f"{manifest['broken']:,}"))
    told.append(("queries a second", f"{_pace(manifest):,.0f}"))
    return told


def best_single(manifest: Mapping[str, Any]) -> str:
    """The candidate with the highest predicted reward on all rows, of those whose is known of all.

    Empty where nobody's is.
    """
    always: Mapping[str, float | None] = manifest["predicted_reward_if_always"]
    known = {name: reward for name, reward in always.items() if reward is not None}
    return max(known, key=lambda name: known[name], default="")


def alarms(manifest: Mapping[str, Any]) -> list[str]:
    """What the reader must know before trusting the numbers."""
    drift = manifest.get("drift")
    if not drift and manifest["policy"] == "quality_floor":
        return [f"The promise is for queries like those that were calibrated on, and {UNKNOWN}."]
    return [f"Drift: {alarm}." for alarm in (drift or {}).get("alarms", [])]


def _pace(manifest: Mapping[str, Any]) -> float:
    """Rows a second: from the first rows on, or of the whole run where all came at once."""
    steady = manifest.get("rows_per_second")
    return float(steady or manifest["rows"] / max(manifest["seconds"]["all"], 1e-9))


def _summary(manifest: Mapping[str, Any]) -> str:
    words = (
        f"Router {manifest['router'][:12]} under policy '{manifest['policy']}'. Rewards and costs "
        "are the router's predictions, not measurements."
    )
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in headline(manifest)
    )
    return f'<p class="note">{escape(words)}</p>\n<div class="tiles">{tiles}</div>'


def _alarms(manifest: Mapping[str, Any]) -> str:
    found = alarms(manifest)
    if found:
        return "\n".join(f'<p class="alarm">{escape(alarm)}</p>' for alarm in found)
    if not manifest.get("drift"):
        return f'<p class="note">{escape(UNKNOWN[0].upper() + UNKNOWN[1:])}.</p>'
    return '<p class="fine">The queries are like those the router was trained on.</p>'


def _policy(manifest: Mapping[str, Any]) -> str:
    facts = manifest.get("policy_facts", {})
    words = " ".join(run_words(manifest))
    rows = [(name, _told(value)) for name, value in facts.items()]
    table = _words(("setting", "value"), rows)
    body = folded("Settings, and what was settled on this file", body=table) if rows else ""
    return section(f"Policy: {manifest['policy']}", note=words, body=body)


def _shares(manifest: Mapping[str, Any]) -> str:
    shares = dict(sorted(manifest["shares"].items(), key=lambda pair: -pair[1]))
    note = f"Share of the {manifest['rows']:,} queries that goes to each candidate."
    if len(shares) > charts.MOST_LINES:
        note += f" The first {charts.MOST_LINES} of {len(shares)}."
    return section(
        "Who answers", note=note, body=charts.shares_bars(shares, looks=_looks(manifest))
    )


def _against(manifest: Mapping[str, Any]) -> str:
    """This run beside always using one candidate."""
    rows, costs = manifest["rows"], _cost_if_always(manifest)
    always = sorted(
        manifest["predicted_reward_if_always"].items(),
        key=lambda pair: (pair[1] is None, -(pair[1] or 0.0)),
    )
    own, cost = manifest["predicted_reward"], manifest["predicted_cost_usd"]
    run = (own, cost)
    lines = [f'<tr class="router">{cells(_line("this run", reward=own, cost=cost, run=run))}</tr>']
    lines += [
        f"<tr>{cells(_line(f'always {name}', reward=reward, cost=costs.get(name), run=run))}</tr>"
        for name, reward in always
    ]
    head = ("", "predicted reward", "minus this run", "USD", "of this run's cost")
    body = table_html(head, lines)
    priced = [
        (name, 1000 * usd / rows, reward)
        for name, reward in always
        if (usd := costs.get(name)) is not None and rows and reward is not None
    ]
    if cost is not None and own is not None and priced:
        here = (1000 * cost / rows, own)
        body = charts.plane(priced, run=here, looks=_looks(manifest)) + body
    note = (
        "Mean predicted reward and total predicted cost, beside what one candidate alone would "
        "come to on the same queries."
    )
    if None in manifest["predicted_reward_if_always"].values():
        note += " A dash: the router knows nothing of some of the queries."
    if cost is None:
        note += " Costs are not known: a price or the tokens of some candidate are missing."
    return section("Quality and cost against one candidate", note=note, body=body)


def _line(
    name: str,
    *,
    reward: float | None,
    cost: float | None,
    run: tuple[float | None, float | None],
) -> Sequence[str]:
    own, spent = run
    share = f"{100 * cost / spent:,.1f} %" if cost is not None and spent else DASH
    difference = "" if name == "this run" else DASH
    if name != "this run" and own is not None and reward is not None:
        difference = signed(reward - own)
    return (name, _reward(reward, digits=4), difference, number(cost), share)


def _reward(value: float | None, *, digits: int) -> str:
    """A dash where it is not known of all queries."""
    return DASH if value is None else f"{value:.{digits}f}"


def _tags(manifest: Mapping[str, Any]) -> str:
    tags, by = manifest.get("tags") or [], manifest.get("tags_by", "")
    title = "By kind of query"
    if not tags:
        return nothing(title, why="the file names no task, and the router knows no kinds of query.")
    note = f"By {by}; with the number of queries."
    if len(tags) > charts.MOST_LINES:
        note += f" The {charts.MOST_LINES} most frequent of {len(tags)}."
    candidates = sorted(manifest["shares"], key=lambda name: -manifest["shares"][name])
    rows = [
        (
            tag["tag"],
            f"{tag['rows']:,}",
            _reward(tag["predicted_reward"], digits=3),
            number(tag["predicted_cost_usd"]),
            *(f"{100 * tag['shares'][name]:.1f} %" for name in candidates),
        )
        for tag in tags
    ]
    table = table_html(("kind", "queries", "predicted reward", "USD", *candidates), _lines(rows))
    bars = charts.tags_bars(tags, candidates=candidates, looks=_looks(manifest))
    return section(title, note=note, body=bars + folded("In numbers", body=table))


def _drift(manifest: Mapping[str, Any]) -> str:
    title, drift = "Drift against the training queries", manifest.get("drift")
    if not drift:
        return nothing(title, why=f"{UNKNOWN}.")
    note = (
        f"{drift['sampled']:,} of the queries were looked at. Population stability index over "
        f"{len(drift['names'])} clusters of training queries: {drift['psi']:.3f}. Where nothing "
        f"has changed it is {drift['psi_by_chance']:.3f} on average and exceeds "
        f"{drift['psi_limit']:.3f} in one file of a thousand; an alarm takes that, and "
        f"{CHANGED} beyond the average. Far away from all training queries: "
        f"{100 * drift['far']:.1f} % of the queries, {100 * drift['far_expected']:.1f} % are "
        "expected."
    )
    if len(drift["names"]) > charts.MOST_CLUSTERS:
        note += f" Shown are the {charts.MOST_CLUSTERS} clusters whose shares moved most."
    body = charts.drift_bars(drift["names"], trained=drift["trained"], shares=drift["shares"])
    return section(title, note=note, body=body + folded("In numbers", body=_clusters(drift)))


def _clusters(drift: Mapping[str, Any]) -> str:
    """A line a cluster, those that add most to the index first."""
    columns = (drift["names"], drift["trained"], drift["shares"], drift["parts"])
    rows = sorted(zip(*columns, strict=True), key=lambda row: -row[3])
    lines = [
        (name, f"{100 * trained:.2f} %", f"{100 * here:.2f} %", f"{part:.4f}")
        for name, trained, here, part in rows
    ]
    head = ("cluster of training queries", "share of these", "share here", "adds to the index")
    return table_html(head, _lines(lines))


def _left_out(manifest: Mapping[str, Any]) -> str:
    found = manifest.get("left_out") or {}
    title = "Rows left out"
    if not manifest.get("broken"):
        return section(title, note="None: every row of the input is in the output.", body="")
    rows = [(one["reason"], f"{one['rows']:,}") for one in found.get("reasons", [])]
    first = [
        (_last(one["file"]), f"{one['row']:,}", one["reason"], one["raw"])
        for one in found.get("first", [])
    ]
    head = ("file", "row", "reason", "as it stands there")
    body = _words(("reason", "rows"), rows)
    body += folded("The first of them", body=_words(head, first))
    note = f"{manifest['broken']:,} rows could not be routed; all of them: {manifest['quarantine']}"
    return section(title, note=note, body=body)


def _feedback(manifest: Mapping[str, Any]) -> str:
    found = manifest.get("feedback")
    if not found:
        return ""
    note = (
        f"{found['drawn']:,} of the queries were drawn, more of those where the router is unsure, "
        f"and {found['new']:,} that the lake did not have were copied into dataset "
        f"'{found['dataset']}', all as train."
    )
    return section("Queries that come back", note=note, body="")


def _facts(manifest: Mapping[str, Any]) -> str:
    names = ("router", "rows", "broken", "fallbacks", "explored", "quarantine", "rows_per_second")
    known = {name: manifest[name] for name in names if manifest.get(name) is not None}
    known |= {f"seconds: {name}": value for name, value in manifest["seconds"].items()}
    rows = [(name.replace("_", " "), _told(value)) for name, value in known.items()]
    rows += [("input", one) for one in manifest.get("inputs", [])[:MOST_FILES]]
    rows += [("output", one) for one in manifest["outputs"][:MOST_FILES]]
    return folded("The run", body=_words(("", ""), rows))


def _looks(manifest: Mapping[str, Any]) -> Styles:
    """How a candidate is drawn, the same in every picture."""
    return styles(list(manifest["shares"]))


def _cost_if_always(manifest: Mapping[str, Any]) -> Mapping[str, float | None]:
    found: Mapping[str, float | None] = manifest.get("predicted_cost_usd_if_always") or {}
    return found


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"<tr>{cells(row)}</tr>" for row in rows]


def _words(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of words."""
    return f'<div class="words">{table_html(head, _lines(rows))}</div>'


def _told(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}".replace("-", "−")


def _file_name(manifest: Mapping[str, Any]) -> str:
    outputs = manifest["outputs"]
    return _last(outputs[0]) if len(outputs) == 1 else f"{len(outputs)} files"


def _last(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]
