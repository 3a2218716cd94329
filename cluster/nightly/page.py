"""The page of a night, made of its manifest alone: one HTML file, nothing fetched."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cluster.evaluation.page import STYLE, cells, nothing, section, table_html
from cluster.evaluation.table import HEADINGS, TableRow
from cluster.nightly.words import headline, subject, words
from cluster.quality.report import TILES

DASH = "–"
FILES_SHOWN = 100


def page(manifest: Mapping[str, Any]) -> bytes:
    """The page as UTF-8 HTML.

    Args:
        manifest: of `retrain`.
    """
    title = subject(manifest)
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(manifest),
        _files(manifest),
        _answers(manifest),
        _admissions(manifest),
        _drift(manifest),
        _trained(manifest),
        _decision(manifest),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}{TILES}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    ).encode()


def _summary(manifest: Mapping[str, Any]) -> str:
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in headline(manifest)
    )
    first, *others = words(manifest)
    alarms = "".join(f'<p class="alarm">{escape(line)}</p>' for line in others)
    note = f"Night {manifest['night']}, begun {manifest['began']}, lake {manifest['lake']}."
    return (
        f'<p class="note">{escape(note)}</p>\n<div class="tiles">{tiles}</div>\n'
        f"<p>{escape(first)}</p>\n{alarms}"
    )


def _files(manifest: Mapping[str, Any]) -> str:
    files, left = manifest["files"], manifest["left"]
    if not files and not left:
        return nothing("Files", why="no new file was in the watched folder.")
    lines = [
        (file["uri"], f"{file['rows']:,}", f"{file['new_queries']:,}", f"{file['broken']:,}", "")
        for file in files
    ]
    lines += [(file["uri"], DASH, DASH, DASH, file["why"]) for file in left]
    note = f"{len(files):,} were taken, {len(left):,} are left for the next night."
    if len(lines) > FILES_SHOWN:
        note += f" The first {FILES_SHOWN}."
    head = ("file", "rows", "new queries", "broken rows", "why it is left")
    return section("Files", note=note, body=_table(head, lines[:FILES_SHOWN]))


def _answers(manifest: Mapping[str, Any]) -> str:
    rows = manifest["answers"]
    if not rows:
        return nothing("Answers", why="no answer was missing, or no candidate was to be asked.")
    lines = [
        (
            row["name"],
            row["dataset"],
            f"{row['required']:,}",
            f"{row['required'] - row['done']:,}",
            f"{row['errors']:,}",
            f"{row['truncated']:,}",
        )
        for row in rows
    ]
    cap = f" of at most {manifest['max_usd']:g}" if manifest["max_usd"] else ""
    note = f"USD {manifest['spent_usd']:.4g}{cap} were spent."
    head = ("candidate", "dataset", "asked for", "still missing", "errors", "cut off")
    rewards = [
        (row["scorer"], row["dataset"], f"{row['new']:,}", f"{row['without_reward']:,}")
        for row in manifest["rewards"]
    ]
    body = _table(head, lines)
    if rewards:
        body += _table(("scorer", "dataset", "new answers", "without a reward"), rewards)
    return section("Answers", note=note, body=body)


def _admissions(manifest: Mapping[str, Any]) -> str:
    rows = manifest["admissions"]
    if not rows:
        return nothing("Admission of labels", why="no batch of new labels was looked at.")
    lines = [(row["batch"], f"{row['labels']:,}", row["verdict"], row["why"]) for row in rows]
    note = "Batches of new labels against what was expected of them. What is kept out is not lost."
    head = ("batch", "labels", "verdict", "why")
    return section("Admission of labels", note=note, body=_table(head, lines))


def _drift(manifest: Mapping[str, Any]) -> str:
    told = manifest["drift"]
    if told is None:
        return nothing("Drift", why="there was no champion to compare with.")
    found = told["drift"]
    if found is None:
        return nothing("Drift", why=f"{told['words']}.")
    columns = zip(found["names"], found["trained"], found["shares"], found["parts"], strict=True)
    lines = [
        (name, f"{100 * trained:.1f} %", f"{100 * here:.1f} %", f"{part:.3f}")
        for name, trained, here, part in columns
    ]
    note = (
        f"{found['rows']:,} queries that came since the champion was trained: {told['words']}. "
        f"Population stability index {found['psi']:.2f}, by chance {found['psi_by_chance']:.2f}."
    )
    head = ("kind of query", "share of training", "share of new ones", "adds to the index")
    return section("Drift", note=note, body=_table(head, lines))


def _trained(manifest: Mapping[str, Any]) -> str:
    if not manifest["routers"]:
        return nothing("Training", why="there was nothing to learn from that was not there before.")
    rows = manifest["rows"]
    lines = [TableRow(**row).cells() for row in manifest["table"]]
    begun = manifest["begun"]
    versions = [
        (
            one["method"],
            one["version"],
            begun.get(one["method"], "anew"),
            _number(one["validation_macro_reward"]),
        )
        for one in manifest["routers"]
    ]
    note = ", ".join(f"{count:,} {name}" for name, count in rows.items()) + " queries."
    body = _table(("method", "version", "trained", "macro reward on validation"), versions)
    if lines:
        body += _table(HEADINGS, lines)
    return section("Training", note=note, body=body)


def _decision(manifest: Mapping[str, Any]) -> str:
    decision = manifest["decision"]
    if not decision:
        return nothing("Decision", why=f"{manifest['why']}.")
    note = f"{decision['method']} {decision['version'][:12]}: {manifest['why']}."
    rows = decision.get("comparisons", [])
    lines = [
        (
            row["against"],
            f"{row['gain']:+.4g}",
            f"{row['low']:+.4g}",
            f"{row['high']:+.4g}",
            f"{row['n']:,}",
        )
        for row in rows
    ]
    body = _table(("against", "gain", "low", "high", "queries"), lines) if lines else ""
    return section("Decision", note=note, body=body)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return table_html(head, [f"<tr>{cells(line)}</tr>" for line in lines])


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"
