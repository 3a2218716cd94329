"""The report on a collection's quality: one HTML file with its pictures inside, nothing fetched."""

from collections.abc import Sequence
from html import escape
from typing import Any

import polars as pl

from cluster.evaluation.page import STYLE, cells, folded, nothing, section, table_html
from cluster.quality import charts
from cluster.quality.alarm import gap, level, listed, percent
from cluster.quality.answers import Answers
from cluster.quality.complementarity import Complementarity, enough
from cluster.quality.coverage import KINDS, MOST_REASONS, WORDS, Coverage
from cluster.quality.decided import Decided
from cluster.quality.duplicates import HELD_OUT, Duplicates
from cluster.quality.luck import ENOUGH_QUERIES, Luck
from cluster.quality.quality import Quality, headline

UNKNOWN = "–"
TILES = """
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}
.tile{border:1px solid #cbd2d9;border-radius:.4rem;padding:.5rem .9rem;min-width:7rem}
.tile b{display:block;font-size:1.25rem;font-weight:600} .tile span{color:#52606d;font-size:.8rem}
.tile span{overflow-wrap:anywhere;display:block;max-width:11rem}
p.alarm b{font-weight:600} p.fine{background:#e9f5ec;padding:.5rem .8rem}
td.name{white-space:normal}
"""


def report(found: Quality) -> bytes:
    """The report as UTF-8 HTML."""
    title = escape(f"Quality of {found.dataset}")
    parts = [
        f"<h1>{title}</h1>",
        _summary(found),
        _alarms(found),
        _coverage(found.coverage),
        _answers(found.answers),
        _duplicates(found.duplicates),
        *_compared(found),
        _luck(found.luck),
        _agreement(found),
        _judges(found.judges),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}{TILES}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    ).encode()


def _summary(found: Quality) -> str:
    splits = ", ".join(f"{n:,} {split or 'of no split'}" for split, n in found.splits.items())
    words = (
        f"Rewards of scorer '{found.scorer}' on {found.queries:,} queries ({splits}) in "
        f"{found.tasks:,} {'task' if found.tasks == 1 else 'tasks'}."
    )
    if found.not_chosen:
        words += (
            f" A budget has left out {found.not_chosen:,} others, which count nowhere here; train "
            "queries were drawn unevenly, and means are over those drawn."
        )
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in headline(found)
    )
    return f'<p class="note">{escape(words)}</p>\n<div class="tiles">{tiles}</div>'


def _alarms(found: Quality) -> str:
    if not found.alarms:
        return '<p class="fine">Nothing found that speaks against training on this.</p>'
    return "\n".join(
        f'<p class="alarm"><b>{escape(alarm.words)}</b> {escape(alarm.todo)}</p>'
        for alarm in found.alarms
    )


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"<tr>{cells(row)}</tr>" for row in rows]


def _coverage(found: Coverage) -> str:
    note = (
        "What became of every query with every candidate. Failed and unread answers are missing, "
        "never 0; answers that were cut off count as they are."
    )
    if found.cells.height > charts.MOST_LINES:
        note += f" Of {found.cells.height} candidates the {charts.MOST_LINES} with most lacking."
    kinds = [kind for kind in KINDS if found.cells[kind].sum()]
    counts = found.cells.select("candidate", *kinds).rows()
    rows = [(name, *(f"{n:,}" for n in own)) for name, *own in counts]
    table = table_html(("candidate", *(WORDS[kind] for kind in kinds)), _lines(rows))
    if kinds == ["rewarded"]:
        whole = "Every candidate has a reward for every query, and none for a cut-off answer."
        return section("What is there", note=whole, body="")
    body = charts.coverage_bars(found.cells) + _reasons(found)
    return section("What is there", note=note, body=body + folded("Queries, counted", body=table))


def _reasons(found: Coverage) -> str:
    """Why answers failed or have no reward, the most frequent reasons first."""
    if not found.reasons.height:
        return ""
    whole = found.reasons.group_by("what", "reason", maintain_order=True).agg(
        pl.col("n").sum(), pl.col("candidate").unique(maintain_order=True)
    )
    shown = whole.sort("n", descending=True, maintain_order=True).head(MOST_REASONS)
    rows = [
        (reason, WORDS[what], f"{n:,}", listed(names, most=3))
        for what, reason, n, names in shown.rows()
    ]
    return table_html(("reason", "what became of it", "answers", "of whom"), _lines(rows))


def _answers(found: Answers) -> str:
    title, known = (
        "What candidates say, and what it costs",
        found.table.filter(pl.col("answers") > 0),
    )
    if not known.height:
        return nothing(title, why="the table came without answers, tokens or costs.")
    formats = {
        "answers": "{:,.0f}",
        "empty": "percent",
        "same": "percent",
        "prompt_tokens": "{:,.0f}",
        "completion_tokens": "{:,.0f}",
        "seconds": "{:.3g}",
        "usd_per_1000": "{:.4g}",
        "gpu_usd_per_1000": "{:.4g}",
    }
    heads = {
        "answers": "answers",
        "empty": "empty",
        "same": "most frequent answer",
        "prompt_tokens": "tokens read",
        "completion_tokens": "tokens written",
        "seconds": "seconds",
        "usd_per_1000": "USD per 1,000 by tokens",
        "gpu_usd_per_1000": "by GPU time",
    }
    there = [name for name in formats if known[name].count()]
    rows = [
        (name, *(_number(value, formats[kind]) for kind, value in zip(there, values, strict=True)))
        for name, *values in known.select("candidate", *there).rows()
    ]
    return section(
        title,
        note="Means an answer; failed ones are left out. Nearly always the same answer, or none, "
        "is mostly a broken template. Costs are those kept with the answers, at the prices of "
        "their day.",
        body=table_html(("candidate", *(heads[name] for name in there)), _lines(rows)),
    )


def _number(value: Any, how: str) -> str:
    if value is None:
        return UNKNOWN
    return percent(value) if how == "percent" else how.format(value)


def _duplicates(found: Duplicates) -> str:
    counts = [
        ("different texts", found.texts, found.queries),
        ("with a text that another has", found.repeated, found.queries),
        ("with a text that another split has", found.across, found.queries),
        *(
            (f"of {split}, near one of {' or '.join(HELD_OUT[split])}", near, n)
            for split, n, near in found.near.rows()
        ),
    ]
    rows = [(words, f"{n:,}", _share(n, of)) for words, n, of in counts]
    note = (
        "Near: eight of ten word triples are the same. Such rows of train and validation teach "
        "what is then measured; 'train' and 'evaluate' leave them out and say so."
    )
    if found.differing is not None:
        note += (
            f" Where a query is there twice, a candidate got different rewards for it in "
            f"{percent(found.differing)} of the cases."
        )
    body = table_html(("queries", "number", "share"), _lines(rows))
    return section("What is there twice", note=note, body=body)


def _share(n: int, of: int) -> str:
    return percent(n / of) if of else UNKNOWN


def _compared(found: Quality) -> list[str]:
    """Sections about the complete part of the matrix."""
    if found.compared is None:
        why = "no query has rewards of two candidates, so they cannot be compared."
        return [nothing("How candidates differ", why=why)]
    return [
        _part_compared(found),
        _decided(found.compared.decided, n_candidates=len(found.data.candidates)),
        _correlation(found),
        _gain(found.compared.complementarity, n_candidates=len(found.data.candidates)),
    ]


def _part_compared(found: Quality) -> str:
    """What all that follows is measured on, where that is not everything."""
    if len(found.data) == found.queries and not found.data.left_out:
        return ""
    words = f"What follows is measured on {len(found.data):,} queries that have all rewards."
    if found.data.left_out:
        words += (
            f" Candidates with less than half the rewards of others are left out: "
            f"{listed(list(found.data.left_out))}."
        )
    return f'<p class="note">{escape(words)}</p>'


def _decided(found: Decided, *, n_candidates: int) -> str:
    return section(
        "How decided the rewards are",
        note=f"On {percent(found.all_equal)} of the queries all candidates have the same reward "
        f"(the lowest there is on {percent(found.all_worst)}, the highest on "
        f"{percent(found.all_best)}), and on {percent(found.tied)} at least two share the best. "
        "Right: the entropy of the softmax of a query's standardised rewards; at 1 all did equally "
        "well, and such a query teaches a router nothing.",
        body=charts.ties_and_entropy(found, n_candidates=n_candidates),
    )


def _correlation(found: Quality) -> str:
    assert found.compared is not None, "asked for by _compared"
    one = found.compared.correlation
    note = (
        "Correlation of rewards over queries: 1 where two are right and wrong on the same queries, "
        "0 where one says nothing of the other. The paler or bluer, the more a choice between them "
        "can gain."
    )
    if len(one.candidates) > charts.MOST_LINES:
        note += f" The first {charts.MOST_LINES} of {len(one.candidates)} candidates."
    return section("Who is right together", note=note, body=charts.heat_map(one))


def _gain(found: Complementarity, *, n_candidates: int) -> str:
    value, low, high = (
        gap(part, is_unit=found.is_unit)
        for part in (found.gain.value, found.gain.low, found.gain.high)
    )
    needed = enough(found)
    note = (
        f"The best choice for every query (the oracle) gains {value} over {found.best} alone, 95 % "
        f"interval {low} to {high}; knowing the task alone would gain "
        f"{gap(found.task_lookup - found.best_single, is_unit=found.is_unit)}. Means over tasks; "
        "tasks by their gain, with the number of queries."
    )
    if len(found.by_task) > charts.MOST_LINES:
        note += f" The first {charts.MOST_LINES} of {len(found.by_task)} tasks."
    curve = (
        f'<p class="note">One candidate more a line, always the one that raises the oracle most. '
        f"{needed} of {n_candidates} have 95 % of the gain of all.</p>"
    )
    return section(
        "What routing could gain",
        note=note,
        body=charts.gains(found.by_task, best=found.best)
        + curve
        + charts.subset_curve(found.subset, oracle=found.subset_oracle, whole=found.oracle)
        + _task_table(found),
    )


def _task_table(found: Complementarity) -> str:
    rows = [
        (
            one.task,
            f"{one.n:,}",
            level(one.best_single, is_unit=found.is_unit),
            one.own_best,
            level(one.own_best_reward, is_unit=found.is_unit),
            level(one.oracle, is_unit=found.is_unit),
            " to ".join(gap(part, is_unit=found.is_unit) for part in (one.gain.low, one.gain.high)),
        )
        for one in found.by_task
    ]
    head = ("task", "queries", "best over all", "its own best", "", "oracle", "gain, 95 % interval")
    return folded("Every task", body=table_html(head, _lines(rows)))


def _luck(found: Luck) -> str:
    title = "How much of that is luck"
    drawn = [
        f"{n:,} of {'one answer' if number == 1 else f'{number} answers'}"
        for number, n in sorted(found.samples.items())
    ]
    note = f"Rewards: {listed(drawn) or 'none'}. "
    if found.one_draw is None or found.honest is None or found.best_single is None:
        return section(title, note=note + _unknown_luck(found), body="")
    gain, lucky = (
        gap(part, is_unit=found.is_unit)
        for part in (found.honest - found.best_single, found.one_draw - found.honest)
    )
    note += (
        f"On the {found.queries:,} queries with several answers of every candidate, {lucky} of the "
        f"oracle are luck: the best of single answers is that much higher than candidates chosen "
        f"by half of their answers and measured on the other half. {gain} over the best single "
        "candidate remain."
    )
    values = {
        "best single candidate": found.best_single,
        "oracle without luck": found.honest,
        "oracle of mean rewards": found.means or 0.0,
        "oracle of one answer each": found.one_draw,
    }
    return section(title, note=note, body=charts.levels(values))


def _unknown_luck(found: Luck) -> str:
    words = (
        "The best of several answers is sometimes right by chance, so the oracle is higher than "
        "any choice made beforehand can be. From one answer it cannot be known by how much: ask "
        f"every candidate several times (samples: 4) on {ENOUGH_QUERIES} queries or more."
    )
    if found.by_chance is not None:
        words += (
            " For comparison: candidates that are right by chance alone, each as often as it is on "
            f"a task, would have an oracle of {level(found.by_chance, is_unit=True)}."
        )
    return words


def _agreement(found: Quality) -> str:
    title = "Whether scorers agree"
    if not found.agreements:
        return nothing(title, why="no other scorer has rewarded these answers.")
    rows = [
        (
            f"{one.first} and {one.second}",
            f"{one.cells:,}",
            UNKNOWN if one.rank_correlation is None else f"{one.rank_correlation:.2f}",
            UNKNOWN if one.reversed is None else f"{percent(one.reversed)} of {one.pairs:,}",
            UNKNOWN if one.auc is None else f"{one.auc:.2f} against {one.gold}",
        )
        for one in found.agreements
    ]
    head = ("scorers", "answers of both", "rank correlation", "pairs the other way round", "AUC")
    return section(
        title,
        note="Pairs: answers to one query that both scorers tell apart. AUC: the chance that an "
        "answer that is right by a scorer of 0 and 1 gets more from the other; a coin has 0.50.",
        body=table_html(head, _lines(rows)),
    )


def _judges(found: pl.DataFrame) -> str:
    """What is known of judges; nothing where none has judged."""
    if not found.height:
        return ""
    heads = {
        "tie_share": "ties",
        "position_bias": "turned by order",
        "to_first": "to the first",
        "longer_wins": "to the longer",
        "agreement": "agrees",
    }
    rows = []
    for row in found.iter_rows(named=True):
        told = [_number(row[name], "percent") for name in heads]
        gold = "" if row["gold"] is None else f" with {row['gold']}"
        name, unread = f"{row['judge']} ({row['mode']})", _share(row["unparsable"], row["answers"])
        rows.append((name, f"{row['pairs']:,}", unread, *told[:-1], told[-1] + gold))
    return section(
        "Whether judges are fair",
        note="Pairs of answers to one query, by verdict or by grade. Turned by order: the verdict "
        "changed when the answers changed places. To the first, to the longer: share of verdicts "
        "for whoever stood first, and for the longer answer; a fair judge has no reason for "
        "either. Agrees: on pairs that the other scorer tells apart, where a coin has 50 %.",
        body=table_html(("judge", "pairs", "unread", *heads.values()), _lines(rows)),
    )
