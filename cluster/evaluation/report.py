"""The report of an evaluation: one HTML file with its pictures inside, nothing fetched."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

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
from cluster.evaluation.control import CONTROL
from cluster.evaluation.harness import Evaluation
from cluster.evaluation.hull import hull
from cluster.evaluation.metrics import entropy, expected
from cluster.evaluation.page import (
    STYLE,
    all_metrics,
    by_apgr,
    control_section,
    method_table,
    nothing,
    pair_table,
    refused_section,
    section,
    task_table,
)
from cluster.evaluation.picture import picture
from cluster.evaluation.styles import BASELINE_STYLES, styles
from cluster.evaluation.sweep import Curve
from cluster.evaluation.table import overall, table_rows
from cluster.outcome import FloatMatrix
from cluster.routers.zooter import Zooter, measure, reward_distribution

# Queries laid out by t-SNE: enough to see groups, and 4 s a method.
MAX_LAID_OUT = 1_000
# Lines that can still be told apart where they run close; the best routers.
MOST_SHOWN = 6
# Dots with intervals in one picture; of many tasks fewer methods are drawn.
MOST_DOTS, FEWEST_DRAWN = 200, 4
# Nats; less is rounding.
SAME_ENTROPY = 1e-9


@dataclass(frozen=True)
class Extras:
    """What an evaluation itself does not hold.

    Attributes:
        histories: by method, its training in `cluster.routers.gradient.HISTORY_SCHEMA`.
        embeddings: by method, (n_queries, d): the evaluated queries as it represents them.
        left_out: what was left out, in words: number of queries by reason.
        fitted: in words, what methods were fitted on.
        refused: by method, why it could not be fitted.
        rounds: of fitting and measuring.
    """

    histories: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    embeddings: Mapping[str, Vectors] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    fitted: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 1


def report(evaluation: Evaluation, *, extras: Extras | None = None) -> bytes:
    """The report as UTF-8 HTML."""
    extras = extras or Extras()
    measured, evaluation = evaluation.rows, without_controls(evaluation)
    routers = best_first(evaluation)
    # By their names' order, so that a method keeps its look when another does better.
    looks = {**styles(list(evaluation.predictions)), **BASELINE_STYLES}
    sections = [
        _summary(evaluation, extras=extras),
        method_table(evaluation.rows, routers=routers),
        refused_section(extras.refused),
        control_section(measured),
        _cost_quality(evaluation, looks=looks),
        _pair(evaluation, looks=looks),
        _by_task(evaluation, routers=routers, looks=looks),
        _shares(evaluation, routers=routers),
        _training(extras, looks=looks),
        _embeddings(evaluation, extras=extras),
        _entropy(evaluation, routers=routers, looks=looks),
        task_table(evaluation.rows, routers=routers),
        all_metrics(measured),
    ]
    title = escape(f"Routers on {evaluation.rows['dataset'][0]}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    ).encode()


def without_controls(evaluation: Evaluation) -> Evaluation:
    """What is to be compared: methods fitted on shuffled labels have a section of their own."""

    def real(by_method: Mapping[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in by_method.items() if not name.startswith(CONTROL)}

    return replace(
        evaluation,
        rows=evaluation.rows.filter(~pl.col("method").str.contains(f"(^|:){CONTROL}")),
        routes=real(evaluation.routes),
        predictions=real(evaluation.predictions),
        curves=real(evaluation.curves),
        pair_curves=real(evaluation.pair_curves),
    )


def best_first(evaluation: Evaluation) -> list[str]:
    """The routers, by macro accuracy."""
    means = overall(evaluation.rows, metrics=("macro_accuracy",))
    return sorted(evaluation.predictions, key=lambda name: -means[name]["macro_accuracy"][0])


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
    return "\n".join(parts)


def _cost_quality(evaluation: Evaluation, *, looks: charts.Styles) -> str:
    image = base64.b64encode(picture(evaluation)).decode()
    body = f'<img alt="cost and quality" src="data:image/png;base64,{image}">'
    lines = {
        name: (1000 * curve.cost, curve.quality)
        for name, curve in evaluation.curves.items()
        if curve.unit == "usd" and name != COST_MATCHED_MIX
    }
    note = "Every method at its best quality."
    if not lines:
        note += (
            " There are no curves over budgets, for the costs of these queries are not known: name "
            "a file of prices, or import a table with costs."
        )
        return section("Cost and quality", note=note, body=body)
    points = [row for row in table_rows(evaluation.rows) if row.method.startswith(CANDIDATE)]
    points.sort(key=lambda row: row.usd_per_1000 or 0.0)
    mix = evaluation.curves.get(COST_MATCHED_MIX)
    body += charts.curves(
        lines,
        points=[row for row in points if row.usd_per_1000 is not None],
        x_label="USD per 1,000 queries",
        y_label="mean reward over tasks",
        looks=looks,
        floor=None if mix is None else hull_of(mix),
    )
    note += (
        " Then every router from its best quality to the cheapest, by weighing predicted reward "
        "against predicted cost; numbers are candidates alone, the cheapest first, and the shaded "
        "area is what mixing them by lot gives."
    )
    return section("Cost and quality", note=note, body=body)


def hull_of(curve: Curve) -> tuple[FloatMatrix, FloatMatrix]:
    """USD per 1,000 queries and the best quality that mixing the points by lot has there."""
    cost, quality = hull(curve.cost[None], curve.quality[None])
    return 1000 * cost[0], quality[0]


def _pair(evaluation: Evaluation, *, looks: charts.Styles) -> str:
    candidates = evaluation.outcomes.candidates
    if evaluation.pair is None:
        why = (
            f"PGR, APGR and CPT are about a strong and a weak candidate. There are "
            f"{len(candidates)}, and none were named; name two with --strong and --weak."
        )
        return nothing("Strong or weak", why=why)
    strong, weak = evaluation.pair.strong, evaluation.pair.weak
    title = f"Strong or weak: {strong} or {weak}"
    if not evaluation.pair_curves:
        why = (
            f"'{strong}' is not better than '{weak}' on these queries; there is no gap to recover."
        )
        return nothing(title, why=why)
    drawn = {
        name: (evaluation.pair_curves[name].share, evaluation.pair_curves[name].pgr)
        for name in by_apgr(evaluation.rows)
        if name in evaluation.pair_curves and name != ORACLE
    }
    # Without its name, which may be long: two of them stand side by side.
    label = "share of the queries that go to the strong one"
    return section(
        title,
        note="0 is the weak one's quality, 1 the strong one's. APGR is the area under a curve, CPT "
        "the share of strong calls that recovers so much of the gap. Methods that know both, the "
        "best first; the oracle, far above, is not drawn.",
        body=pair_table(evaluation.rows) + charts.recovered(drawn, x_label=label, looks=looks),
    )


def _by_task(evaluation: Evaluation, *, routers: Sequence[str], looks: charts.Styles) -> str:
    n_tasks = len(np.unique(evaluation.outcomes.tasks))
    drawn = routers[: max(FEWEST_DRAWN, MOST_DOTS // n_tasks)]
    note = "Mean reward of each task with its 95 % interval; methods by accuracy over all tasks."
    if len(drawn) < len(routers):
        note += (
            f" Of {len(routers)} routers the best {len(drawn)}; all of them are in the table at "
            "the end."
        )
    return section(
        "By task",
        note=note,
        body=charts.accuracy_by_task(
            evaluation.rows, methods=[*drawn, BEST_SINGLE, TASK_LOOKUP], looks=looks
        ),
    )


def _shares(evaluation: Evaluation, *, routers: Sequence[str]) -> str:
    fixed = (ORACLE, TASK_LOOKUP, BEST_SINGLE)
    methods = [*(name for name in fixed if name in evaluation.routes), *routers]
    candidates = evaluation.outcomes.candidates
    route_shares = {
        method: dict(zip(candidates, evaluation.routes[method].mean(axis=0).tolist(), strict=True))
        for method in methods
    }
    return section(
        "Who gets the queries",
        note="Share of the queries each candidate is sent, routers by accuracy. Where one "
        "candidate gets nearly all, it is best for nearly all or the router has learned nothing.",
        body=charts.shares(route_shares),
    )


def _training(extras: Extras, *, looks: charts.Styles) -> str:
    if not extras.histories:
        return nothing("Training", why="no method that was fitted here trains by gradient.")
    by_method: dict[str, list[pl.DataFrame]] = {}
    for name, history in extras.histories.items():
        by_method.setdefault(name.partition(",")[0], []).append(history)
    several = " A line a round." if extras.rounds > 1 else ""
    return section(
        "Training",
        note="Losses on train (dashed) and on validation, and what the choices earn on "
        "validation. The checkpoint kept is the best one on validation: by what choices earn, "
        "or by loss where the order of the queries is learned; the test split has no part."
        f"{several}",
        body=charts.training(by_method, looks=looks),
    )


def _embeddings(evaluation: Evaluation, *, extras: Extras) -> str:
    title = "How the methods see the queries"
    if not extras.embeddings:
        why = "no method that was fitted here has a space of its own for queries."
        if extras.rounds > 1:
            why = (
                f"in each of {extras.rounds} rounds the methods learned another space, and their "
                "queries do not belong in one picture."
            )
        return nothing(title, why=why)
    n = len(evaluation.outcomes)
    rows = np.arange(n)
    if n > MAX_LAID_OUT:
        rows = np.sort(np.random.default_rng(0).choice(n, MAX_LAID_OUT, replace=False))
    planes = {name: _plane(vectors[rows]) for name, vectors in extras.embeddings.items()}
    return section(
        title,
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


def _entropy(evaluation: Evaluation, *, routers: Sequence[str], looks: charts.Styles) -> str:
    title = "Reward entropy: how decided the rewards are"
    reward = evaluation.outcomes.reward
    distribution = reward_distribution(
        reward, kind="z_score", scale=measure(reward, kind="z_score"), temperature=1.0
    )
    nats = entropy(distribution)
    if np.ptp(nats) < SAME_ENTROPY:
        why = "the rewards are as undecided for one query as for another."
        return nothing(title, why=why)
    best = routers[:MOST_SHOWN]
    shown = [ORACLE, *best, *({Zooter.name} & set(routers) - set(best)), BEST_SINGLE]
    return section(
        title,
        note="Left, the entropy of the softmax of each query's standardised rewards; right, what "
        "the best routers, and zooter, which learns from this distribution, earn on queries of low "
        "to high entropy. Where it is high, candidates did equally well and a choice matters "
        "little.",
        body=charts.reward_entropy(
            nats,
            earned={name: expected(evaluation.routes[name], reward) for name in shown},
            looks=looks,
        ),
    )
