"""The page on a dataset's tags: one HTML file with its pictures inside, nothing fetched."""

from collections.abc import Sequence
from html import escape

import numpy as np
import polars as pl

from cluster.evaluation import tag_charts
from cluster.evaluation.page import STYLE, cells, folded, nothing, section, table_html
from cluster.evaluation.tag_statistics import TagStatistics

# Bars and lines that can still be read; tables go on longer.
MOST_BARS, MOST_LINES, MOST_ROWS = 30, 20, 200
# Candidates in one line of dots; all of them are in the table.
MOST_DOTS = 8
# Raw tags that are named of one tag, or among those that are none.
MOST_NAMED = 12
TOP = 10
NO_NUMBER = "–"
WRAPPED = '<td style="text-align:left;white-space:normal">'
STEPS = {
    "kept": "are a tag as they are",
    "format": "are written in another way (case, special characters, endings)",
    "similar": "mean the same as another",
    "associated": "nearly always come with another",
    "rare": "are too rare to be a tag",
    "blank": "hold no letter or digit",
}


def tag_page(found: TagStatistics) -> bytes:
    """The page as UTF-8 HTML."""
    title = escape(f"Tags on {found.dataset}")
    sections = [
        f"<h1>{title}</h1>",
        f'<p class="note">{escape(summary(found))}</p>',
        _frequency(found),
        _coverage(found),
        _rewards(found),
        _vocabulary(found),
        _history(found),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(sections) + "\n</body></html>\n"
    ).encode()


def summary(found: TagStatistics) -> str:
    """What a person should know first, in a sentence or two."""
    version = found.version
    by = f"tagger '{found.tagger}'"
    by += f", vocabulary {version.sequence}" if version else ""
    top = found.covered_by_top()[: TOP + 1][-1]
    told = (
        f"By {by}: {found.frequency.height:,} tags on {found.n_tagged:,} of {found.n_queries:,} "
        f"queries ({_percent(found.n_tagged, found.n_queries)}), {found.per_query:.1f} a query "
        f"that has any."
    )
    if found.frequency.height > TOP:
        told += f" The {TOP} most frequent cover {top:.0%} of all queries."
    return told


def _frequency(found: TagStatistics) -> str:
    drawn = found.frequency.head(MOST_BARS)
    if drawn.is_empty():
        return nothing("Frequency", why="no query of this dataset has a tag.")
    title = f"The {drawn.height} most frequent of {found.frequency.height:,} tags."
    return section(
        "Frequency",
        note=title if drawn.height < found.frequency.height else "Every tag.",
        body=tag_charts.frequencies(drawn, n_queries=found.n_queries),
    )


def _coverage(found: TagStatistics) -> str:
    counts = found.tags_of.list.len().to_list()
    body = tag_charts.coverage(found.covered_by_top(), counts=counts)
    reasons = [(why, n, "queries without a tag") for why, n in found.untagged.iter_rows()]
    reasons += [(why, n, "tags beside others") for why, n in found.left_out.iter_rows()]
    if reasons:
        lines = [f"<tr>{cells((why, f'{n:,}', what))}</tr>" for why, n, what in reasons]
        body += table_html(("what is missing, by reason", "number", "of"), lines)
    return section(
        "Coverage",
        note="Left, how many queries the most frequent tags cover together; right, how many tags "
        "a query has.",
        body=body,
    )


def _rewards(found: TagStatistics) -> str:
    title = "Reward by tag"
    if found.rewards.is_empty():
        return nothing(title, why="no query with a tag has a reward yet.")
    tags = found.frequency["tag"].head(MOST_LINES).to_list()
    drawn = _drawn(found)
    note = (
        f"Mean reward by scorer '{found.scorer}' of each candidate on the queries of a tag, with "
        "its 95 % interval. Tags whose dots lie apart are those a router can gain from."
    )
    if len(drawn) < len(found.candidates):
        note += f" Drawn are the {len(drawn)} candidates that are best over all tags."
    body = tag_charts.rewards(found.rewards, tags=tags, candidates=drawn)
    return section(title, note=note, body=body + _reward_table(found))


def _drawn(found: TagStatistics) -> list[str]:
    """The candidates with the highest mean reward, in the order they have everywhere."""
    mean = (pl.col("mean") * pl.col("n")).sum() / pl.col("n").sum()
    best = found.rewards.group_by("candidate").agg(mean).sort("mean", descending=True)
    chosen = set(best["candidate"].head(MOST_DOTS))
    return [name for name in found.candidates if name in chosen]


def _reward_table(found: TagStatistics) -> str:
    shown = found.frequency.head(MOST_ROWS)
    by_cell = {
        (row["tag"], row["candidate"]): row
        for row in found.rewards.join(shown, on="tag").iter_rows(named=True)
    }
    lines = []
    for tag, queries in shown.iter_rows():
        rewards = [_reward(by_cell.get((tag, name)), queries=queries) for name in found.candidates]
        lines.append(f"<tr>{cells((tag, f'{queries:,}', *rewards))}</tr>")
    what = "Every tag" if shown.height == found.frequency.height else f"The first {shown.height}"
    title = f"{what} in numbers; n where not all of a tag's queries have a reward"
    return folded(title, body=table_html(("tag", "queries", *found.candidates), lines))


def _reward(row: dict[str, float] | None, *, queries: int) -> str:
    if row is None:
        return NO_NUMBER
    text = f"{row['mean']:.3f}"
    if np.isfinite(row["low"]):
        text += f" [{row['low']:.2f}, {row['high']:.2f}]"
    return text if row["n"] == queries else f"{text} n {row['n']:,}"


def _vocabulary(found: TagStatistics) -> str:
    rows = found.vocabulary.rows
    title = "Vocabulary"
    if rows.is_empty():
        return nothing(title, why=f"tagger '{found.tagger}' gives tags from a list of its own.")
    steps = rows.group_by("step").agg(pl.len().alias("raw"), pl.col("count").sum())
    by_step = {step: (raw, count) for step, raw, count in steps.iter_rows()}
    lines = [
        f"<tr>{cells((text, *(f'{n:,}' for n in by_step[step])))}</tr>"
        for step, text in STEPS.items()
        if step in by_step
    ]
    body = table_html(("raw tags that", "number", "times written"), lines)
    body += _merges(rows) + _rare(rows)
    return section(
        title,
        note=f"What became of the {rows.height:,} raw tags that this version was made from, in all "
        f"datasets: {len(found.vocabulary.names):,} tags.",
        body=body,
    )


def _merges(rows: pl.DataFrame) -> str:
    """Tags made of several raw ones, those of most first; folded away."""
    ordered = rows.sort("count", "raw_tag", descending=[True, False]).drop_nulls("tag")
    merged = ordered.group_by("tag", maintain_order=True).agg("raw_tag", "count")
    merged = merged.filter(pl.col("raw_tag").list.len() > 1)
    if merged.is_empty():
        return ""
    merged = merged.sort(pl.col("raw_tag").list.len(), descending=True, maintain_order=True)
    lines = [
        f"<tr>{cells((tag, f'{sum(counts):,}'))}{WRAPPED}{escape(_named(raw, counts))}</td></tr>"
        for tag, raw, counts in merged.head(MOST_ROWS).iter_rows()
    ]
    body = table_html(("tag", "times written", "raw tags it is made of"), lines)
    return folded(f"Tags made of several raw tags ({merged.height:,})", body=body)


def _rare(rows: pl.DataFrame) -> str:
    """The most frequent raw tags that are none; folded away."""
    rare = rows.filter(pl.col("step") == "rare").sort("count", "raw_tag", descending=[True, False])
    if rare.is_empty():
        return ""
    shown = rare.head(5 * MOST_NAMED)
    names = _named(shown["raw_tag"].to_list(), shown["count"].to_list(), most=shown.height)
    more = f", and {rare.height - shown.height:,} more" if shown.height < rare.height else ""
    body = f'<p class="note">{escape(names + more)}</p>'
    return folded(f"Raw tags that are too rare ({rare.height:,})", body=body)


def _named(names: Sequence[str], counts: Sequence[int], *, most: int = MOST_NAMED) -> str:
    """Raw tags with how often they were written; the rest as a number."""
    pairs = list(zip(names, counts, strict=True))
    told = ", ".join(f"{name} ({count:,})" for name, count in pairs[:most])
    return f"{told}, and {len(pairs) - most:,} more" if len(pairs) > most else told


def _history(found: TagStatistics) -> str:
    """Versions of the vocabulary; nothing for a tagger without."""
    if not found.history:
        return ""
    lines = [
        f"<tr>{cells((str(one.sequence), one.tagger_id[:12], f'{one.queries:,}'))}"
        f"{cells((f'{one.coverage:.0%}', one.why))}</tr>"
        for one in found.history
    ]
    return section(
        "Versions",
        note="Of the vocabulary, the one in force first: new queries get their tags by it. Share "
        "of the queries it was made from that got a tag, and why it was made.",
        body=table_html(("version", "id", "queries", "covered", "why"), lines),
    )


def _percent(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.0%}"
