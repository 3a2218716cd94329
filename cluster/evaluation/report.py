"""The report of an evaluation: one HTML file with its pictures inside, nothing fetched."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import polars as pl

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import Vectors
from cluster.evaluation import charts
from cluster.evaluation.baselines import (
    BEST_SINGLE,
    CANDIDATE,
    COST_MATCHED_MIX,
    ORACLE,
    TASK_LOOKUP,
)
from cluster.evaluation.harness import Evaluation
from cluster.evaluation.metrics import entropy, expected
from cluster.evaluation.picture import picture
from cluster.evaluation.table import HEADINGS, overall, table_rows
from cluster.outcome import FloatMatrix
from cluster.routers.zooter import measure, reward_distribution

# Queries laid out by t-SNE: enough to see groups, and 4 s a method.
MAX_LAID_OUT = 1_000
# Lines that can still be told apart; the best routers.
MOST_SHOWN = 6
LIFTS = ("lift_over_best_single", "lift_over_task_lookup")
PAIR_METRICS = ("apgr", "cpt50", "cpt80")
BASELINE_COLOURS = {BEST_SINGLE: "#9aa5b1", TASK_LOOKUP: "#3e4c59", ORACLE: "#d5a021"}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;max-width:62rem}
body{margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:0} h2{font-size:1.1rem;margin:2.2rem 0 .3rem}
p.note{color:#52606d;margin:.2rem 0 .6rem} p.alarm{background:#fdecea;padding:.5rem .8rem}
table{border-collapse:collapse;font-size:.85rem} th,td{padding:.2rem .7rem;text-align:right}
td{white-space:nowrap} th:first-child,td:first-child{text-align:left}
thead th{border-bottom:2px solid #cbd2d9}
tbody tr:nth-child(even){background:#f5f7fa} tr.router td:first-child{font-weight:600}
svg,img{width:100%;height:auto} details{margin-top:2rem} .wide{overflow-x:auto}
"""


@dataclass(frozen=True)
class Extras:
    """What an evaluation itself does not hold.

    Attributes:
        histories: by method, its training in `cluster.routers.gradient.HISTORY_SCHEMA`.
        embeddings: by method, (n_queries, d): the evaluated queries as it represents them.
        left_out: what was left out, in words: number of queries by reason.
        fitted: in words, what methods were fitted on.
        refused: by method, why it could not be fitted.
    """

    histories: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    embeddings: Mapping[str, Vectors] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    fitted: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)


def report(evaluation: Evaluation, *, extras: Extras | None = None) -> bytes:
    """The report as UTF-8 HTML."""
    extras = extras or Extras()
    routers = list(evaluation.predictions)
    palette = charts.colours(routers)
    sections = [
        _summary(evaluation, extras=extras),
        _table(evaluation.rows, routers=routers),
        _cost_quality(evaluation, palette=palette),
        _pair(evaluation, palette=palette),
        _by_task(evaluation, routers=routers, palette=palette),
        _shares(evaluation, routers=routers),
        _training(extras, palette=palette),
        _embeddings(evaluation, extras=extras),
        _entropy(evaluation, routers=routers, palette=palette),
        _all_metrics(evaluation.rows),
    ]
    title = escape(f"Routers on {evaluation.rows['dataset'][0]}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    ).encode()


def section(title: str, *, note: str, body: str) -> str:
    """A heading, a sentence on how to read what follows, and that."""
    return f'<h2>{escape(title)}</h2>\n<p class="note">{escape(note)}</p>\n{body}'


def _summary(evaluation: Evaluation, *, extras: Extras) -> str:
    dataset, split = evaluation.rows.row(0, named=True)["dataset"], evaluation.rows["split"][0]
    tasks = len(np.unique(evaluation.outcomes.tasks))
    size = f"{len(evaluation.outcomes):,} queries of split '{split}' in {tasks} tasks"
    parts = [f"<h1>Routers on {escape(dataset)}</h1>", f'<p class="note">{escape(size)}; ']
    parts += [escape(f"{len(evaluation.outcomes.candidates)} candidates. {extras.fitted}"), "</p>"]
    left = {**extras.left_out, **{f"incomplete: {k}": n for k, n in evaluation.incomplete.items()}}
    told = ", ".join(f"{count:,} ({reason})" for reason, count in left.items() if count)
    if told:
        parts.append(f'<p class="note">Left out: {escape(told)}.</p>')
    parts += [f'<p class="alarm">{escape(alarm)}</p>' for alarm in evaluation.alarms]
    parts += [
        f'<p class="note">{escape(f"{name} is left out: {why}")}</p>'
        for name, why in extras.refused.items()
    ]
    return "\n".join(parts)


def _table(rows: pl.DataFrame, *, routers: Sequence[str]) -> str:
    lifts = overall(rows, metrics=LIFTS)
    head = "".join(f"<th>{escape(h)}</th>" for h in (*HEADINGS, "− best single", "− task lookup"))
    lines = []
    for row in table_rows(rows):
        _, *own = row.cells()
        name = row.method.removeprefix(CANDIDATE)
        cells = [name, *own, *(_interval(lifts.get(row.method, {}).get(lift)) for lift in LIFTS)]
        kind = ' class="router"' if row.method in routers else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return section(
        "What each method is worth",
        note="Mean over tasks, in percent. Differences are paired by query, with 95 % intervals; "
        "task lookup and oracle read what no router is told.",
        body=f'<div class="wide"><table>{body}</table></div>',
    )


def _interval(found: tuple[float, float, float] | None) -> str:
    if found is None:
        return "–"
    value, low, high = (100 * part for part in found)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _cost_quality(evaluation: Evaluation, *, palette: dict[str, str]) -> str:
    image = base64.b64encode(picture(evaluation)).decode()
    body = f'<img alt="cost and quality" src="data:image/png;base64,{image}">'
    lines = {
        name: (1000 * curve.cost, curve.quality)
        for name, curve in evaluation.curves.items()
        if curve.unit == "usd"
    }
    if lines:
        points = [row for row in table_rows(evaluation.rows) if row.method.startswith(CANDIDATE)]
        body += charts.curves(
            lines,
            points=[row for row in points if row.usd_per_1000 is not None],
            x_label="USD per 1,000 queries",
            y_label="mean reward over tasks",
            palette=palette,
        )
    return section(
        "Cost and quality",
        note="Every method at its best quality, then every router from its best quality to the "
        "cheapest, by weighing predicted reward against predicted cost.",
        body=body,
    )


def _pair(evaluation: Evaluation, *, palette: dict[str, str]) -> str:
    if evaluation.pair is None or not evaluation.pair_curves:
        return ""
    strong, weak = evaluation.pair.strong, evaluation.pair.weak
    lines: dict[str, tuple[FloatMatrix, FloatMatrix]] = {
        name: (curve.share, curve.pgr) for name, curve in evaluation.pair_curves.items()
    }
    body = _pair_table(evaluation.rows) + charts.curves(
        lines,
        points=[],
        x_label=f"share of the queries that go to {strong}",
        y_label="performance gap recovered",
        palette=palette,
    )
    return section(
        f"{strong} or {weak}",
        note="0 is the weak one's quality, 1 the strong one's. APGR is the area under a curve, CPT "
        "the share of strong calls that recovers so much of the gap.",
        body=body,
    )


def _pair_table(rows: pl.DataFrame) -> str:
    found = overall(rows, metrics=PAIR_METRICS)
    methods = [name for name in found if "apgr" in found[name]]
    methods.sort(key=lambda name: -found[name]["apgr"][0])
    lines = []
    for method in methods:
        cells = [
            "{:.3f} [{:.3f}, {:.3f}]".format(*found[method][metric])
            if metric in found[method]
            else "–"
            for metric in PAIR_METRICS
        ]
        lines.append("".join(f"<td>{escape(cell)}</td>" for cell in (method, *cells)))
    head = "".join(f"<th>{name}</th>" for name in ("method", "APGR", "CPT 50 %", "CPT 80 %"))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _by_task(evaluation: Evaluation, *, routers: Sequence[str], palette: dict[str, str]) -> str:
    methods = [*routers, BEST_SINGLE, TASK_LOOKUP]
    return section(
        "By task",
        note="Mean reward of each task with its 95 % interval.",
        body=charts.accuracy_by_task(
            evaluation.rows, methods=methods, palette=palette | BASELINE_COLOURS
        ),
    )


def _shares(evaluation: Evaluation, *, routers: Sequence[str]) -> str:
    fixed = (BEST_SINGLE, TASK_LOOKUP, ORACLE)
    methods = [*(name for name in fixed if name in evaluation.routes), *routers]
    candidates = evaluation.outcomes.candidates
    route_shares = {
        method: dict(zip(candidates, evaluation.routes[method].mean(axis=0).tolist(), strict=True))
        for method in methods
    }
    return section(
        "Who gets the queries",
        note="A router that sends nearly all to one candidate has learned nothing about queries.",
        body=charts.shares(route_shares),
    )


def _training(extras: Extras, *, palette: dict[str, str]) -> str:
    if not extras.histories:
        return ""
    return section(
        "Training",
        note="The checkpoint is that of the best validation score; the test split has no part.",
        body=charts.training(extras.histories, palette=palette),
    )


def _embeddings(evaluation: Evaluation, *, extras: Extras) -> str:
    if not extras.embeddings:
        return ""
    n = len(evaluation.outcomes)
    rows = np.arange(n)
    if n > MAX_LAID_OUT:
        rows = np.sort(np.random.default_rng(0).choice(n, MAX_LAID_OUT, replace=False))
    planes = {name: _plane(vectors[rows]) for name, vectors in extras.embeddings.items()}
    return section(
        "How the methods see the queries",
        note=f"t-SNE of {len(rows):,} test queries as each method represents them, by task.",
        body=charts.embeddings(planes, tasks=evaluation.outcomes.tasks[rows]),
    )


def _plane(vectors: Vectors) -> FloatMatrix:
    """(n, 2) by t-SNE, equal rows at one place; of fewer than ten distinct ones two columns.

    Only distinct rows are laid out: of equal ones scikit-learn's t-SNE ends by a segmentation
    fault. The vectors of texts in a script that an encoder has never seen are all 0.
    """
    from sklearn.manifold import TSNE

    distinct, place = np.unique(vectors.astype(np.float64), axis=0, return_inverse=True)
    if len(distinct) < 10 or vectors.shape[1] < 2:
        return np.pad(vectors.astype(np.float64), ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30, (len(distinct) - 1) // 3)
    with one_blas_thread():
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(
            distinct
        )
    return np.asarray(plane[place], dtype=np.float64)


def _entropy(evaluation: Evaluation, *, routers: Sequence[str], palette: dict[str, str]) -> str:
    reward = evaluation.outcomes.reward
    distribution = reward_distribution(
        reward, kind="z_score", scale=measure(reward, kind="z_score"), temperature=1.0
    )
    means = overall(evaluation.rows, metrics=("macro_accuracy",))
    ranked = sorted(routers, key=lambda name: -means[name]["macro_accuracy"][0])
    shown = [BEST_SINGLE, *ranked[:MOST_SHOWN], ORACLE]
    earned = {name: expected(evaluation.routes[name], reward) for name in shown}
    return section(
        "How decided the rewards are",
        note="Entropy of the softmax of each query's standardised rewards: where it is high, "
        "candidates did equally well and a choice matters little.",
        body=charts.reward_entropy(
            entropy(distribution), earned=earned, palette=palette | BASELINE_COLOURS
        ),
    )


def _all_metrics(rows: pl.DataFrame) -> str:
    chosen = rows.filter(
        (pl.col("task") == "all") & ~pl.col("method").str.starts_with(COST_MATCHED_MIX)
    ).sort("metric", "value", descending=[False, True], nulls_last=True)
    lines = [
        f"<tr><td>{escape(metric)}</td><td>{escape(method)}</td><td>{value:.4g}</td>"
        f"<td>{low:.4g} – {high:.4g}</td><td>{n:,}</td></tr>"
        for metric, method, value, low, high, n in chosen.select(
            "metric", "method", "value", "ci_low", "ci_high", "n"
        ).iter_rows()
    ]
    head = "".join(f"<th>{h}</th>" for h in ("metric", "method", "value", "95 % interval", "n"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<details><summary>All metrics over all tasks</summary>{table}</details>"
