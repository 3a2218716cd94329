"""What a report is made of beside its pictures: sections and tables, as HTML."""

from collections.abc import Mapping, Sequence
from html import escape

import polars as pl

from cluster.evaluation.baselines import CANDIDATE, COST_MATCHED_MIX, FITTED_BASELINES
from cluster.evaluation.control import CONTROL
from cluster.evaluation.metrics import ALL_TASKS
from cluster.evaluation.table import HEADINGS, ordered, overall, table_rows

LIFTS = ("lift_over_best_single", "lift_over_task_lookup")
PAIR_METRICS = ("apgr", "cpt50", "cpt80")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:62rem}
body{margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:0} h2{font-size:1.1rem;margin:2.2rem 0 .3rem}
p.note{color:#52606d;margin:.2rem 0 .6rem} p.alarm{background:#fdecea;padding:.5rem .8rem}
table{border-collapse:collapse;font-size:.85rem} th,td{padding:.2rem .5rem;text-align:right}
td{white-space:nowrap} th:first-child,td:first-child{text-align:left}
td:first-child{white-space:normal;overflow-wrap:anywhere;max-width:16rem;min-width:8rem}
thead th{border-bottom:2px solid #cbd2d9}
tbody tr:nth-child(even){background:#f5f7fa} tr.router td:first-child{font-weight:600}
svg,img{width:100%;height:auto} details{margin-top:1rem} .wide{overflow-x:auto}
summary{cursor:pointer}
"""


def section(title: str, *, note: str, body: str) -> str:
    """A heading, a sentence on how to read what follows, and that."""
    return f'<h2>{escape(title)}</h2>\n<p class="note">{escape(note)}</p>\n{body}'


def nothing(title: str, *, why: str) -> str:
    """A heading with the reason why nothing is shown below it."""
    return section(title, note=f"Nothing to show: {why}", body="")


def table_html(head: Sequence[str], rows: Sequence[str]) -> str:
    """A table of headings, as text, and of lines that are HTML already."""
    headings = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = f"<thead><tr>{headings}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table>{body}</table></div>'


def cells(texts: Sequence[str]) -> str:
    """Texts as cells of a line."""
    return "".join(f"<td>{escape(text)}</td>" for text in texts)


def listed(rows: pl.DataFrame, *, routers: Sequence[str]) -> list[str]:
    """All methods but the mixes: candidates, baselines, routers in the order given, the oracle."""
    others = [row.method for row in table_rows(rows) if row.method not in routers]
    return ordered([*others, *routers])


def refused_section(refused: Mapping[str, str]) -> str:
    """Methods that could not be fitted, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in refused.items():
        by_reason.setdefault(why, []).append(name)
    if not by_reason:
        return ""
    told = (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} left out: {why}"
        for why, names in by_reason.items()
    )
    body = "\n".join(f'<p class="note">{escape(one)}</p>' for one in told)
    return section("Left out", note="Methods that could not be fitted here, and why.", body=body)


def control_section(rows: pl.DataFrame) -> str:
    """What methods gain that were fitted on shuffled labels; nothing where none was."""
    lifts = overall(rows.filter(pl.col("method").str.starts_with(CONTROL)), metrics=LIFTS[:1])
    if not lifts:
        return ""
    lines = [
        f"<tr>{cells((name.removeprefix(CONTROL), interval(found[LIFTS[0]])))}</tr>"
        for name, found in sorted(lifts.items())
    ]
    return section(
        "Control",
        note="The same methods fitted on labels that have nothing to do with the queries: none may "
        "gain over best single with its whole interval. Of a pair it says nothing about the order "
        "of the queries, which any direction learned by chance may favour or not.",
        body=table_html(("method", "minus best single"), lines),
    )


def method_table(rows: pl.DataFrame, *, routers: Sequence[str]) -> str:
    """What each method is worth: candidates, baselines, routers in the order given, the oracle."""
    lifts = overall(rows, metrics=LIFTS)
    lines = []
    for row in table_rows(rows, methods=listed(rows, routers=routers)):
        name, (_, *own) = row.method.removeprefix(CANDIDATE), row.cells()
        found = [interval(lifts.get(row.method, {}).get(lift)) for lift in LIFTS]
        is_router = row.method in routers and row.method not in FITTED_BASELINES
        kind = ' class="router"' if is_router else ""
        lines.append(f"<tr{kind}>{cells((name, *own, *found))}</tr>")
    return section(
        "What each method is worth",
        note="Mean over tasks, in percent: candidates alone, baselines, routers (bold) by "
        "accuracy. Differences are paired by query, with 95 % intervals; task lookup and oracle "
        "read what no router is told.",
        body=table_html((*HEADINGS, "minus best single", "minus task lookup"), lines),
    )


def interval(found: tuple[float, float, float] | None) -> str:
    """A difference in points, with its interval."""
    if found is None:
        return "–"
    value, low, high = (100 * part for part in found)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")


def pair_table(rows: pl.DataFrame) -> str:
    """The metrics of a strong and a weak candidate, the best method first."""
    found = overall(rows, metrics=PAIR_METRICS)
    lines = []
    for method in by_apgr(rows):
        texts = [
            "{:.3f} [{:.3f}, {:.3f}]".format(*found[method][metric])
            if metric in found[method]
            else "–"
            for metric in PAIR_METRICS
        ]
        lines.append(f"<tr>{cells((method, *texts))}</tr>")
    return table_html(("method", "APGR", "CPT 50 %", "CPT 80 %"), lines)


def by_apgr(rows: pl.DataFrame) -> list[str]:
    """Methods with an APGR, the best first."""
    found = overall(rows, metrics=("apgr",))
    return sorted(found, key=lambda name: -found[name]["apgr"][0])


def task_table(rows: pl.DataFrame, *, routers: Sequence[str]) -> str:
    """Accuracy of every task and method, in percent; folded away."""
    chosen = rows.filter(pl.col("metric") == "accuracy")
    methods = listed(rows, routers=routers)
    wide = chosen.pivot(on="method", index="task", values="value").sort("task")
    lines = [
        f"<tr>{cells((task, *(f'{100 * value:.1f}' for value in values)))}</tr>"
        for task, *values in wide.select("task", *methods).iter_rows()
    ]
    head = ("task", *(name.removeprefix(CANDIDATE) for name in methods))
    return folded("Accuracy of every method on every task, %", body=table_html(head, lines))


def all_metrics(rows: pl.DataFrame) -> str:
    """Everything that is measured over all tasks; folded away."""
    chosen = rows.filter(
        (pl.col("task") == ALL_TASKS) & ~pl.col("method").str.starts_with(COST_MATCHED_MIX)
    ).sort("metric", "value", descending=[False, True], nulls_last=True)
    lines = [
        f"<tr>{cells((metric, method, f'{value:.4g}', f'{low:.4g} – {high:.4g}', f'{n:,}'))}</tr>"
        for metric, method, value, low, high, n in chosen.select(
            "metric", "method", "value", "ci_low", "ci_high", "n"
        ).iter_rows()
    ]
    head = ("metric", "method", "value", "95 % interval", "n")
    return folded("All metrics over all tasks", body=table_html(head, lines))


def folded(title: str, *, body: str) -> str:
    """What is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"
