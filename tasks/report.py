"""The short table a run ends with, for the terminal."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from cluster.evaluation.baselines import CANDIDATE
from cluster.evaluation.table import HEADINGS, TableRow


def show_table(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print one line a method on stderr; a candidate alone goes by its name."""
    method_heading, *headings = HEADINGS
    # A long name goes on in the next line: cut off, two of a family would read the same.
    shown = Table(Column(method_heading, overflow="fold"), *headings, title=title)
    for row in rows:
        method, *cells = TableRow(**row).cells()
        shown.add_row(method.removeprefix(CANDIDATE), *cells)
    Console(stderr=True).print(shown)


def show_pairs(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print one line a row on stderr, its values side by side."""
    shown = Table(title=title, show_header=False)
    for row in rows:
        shown.add_row(*map(str, row.values()))
    Console(stderr=True).print(shown)


def show_lines(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print one line a row on stderr, below the names of its values."""
    shown = Table(*rows[0], title=title)
    for row in rows:
        shown.add_row(*("–" if value is None else str(value) for value in row.values()))
    Console(stderr=True).print(shown)


def say(text: str) -> None:
    """One line on stderr."""
    Console(stderr=True).print(text, soft_wrap=True, highlight=False, markup=False)


def show_columns(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print one line a row on stderr, headed by its keys; numbers short, nothing for no rows."""
    if not rows:
        return
    shown = Table(title=title, box=box.SIMPLE_HEAD)
    for name in rows[0]:
        is_name = isinstance(rows[0][name], str)
        shown.add_column(name, justify="left" if is_name else "right", overflow="fold")
    for row in rows:
        shown.add_row(*map(_cell, row.values()))
    Console(stderr=True).print(shown)


def _cell(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
