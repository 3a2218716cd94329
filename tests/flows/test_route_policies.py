"""Policies and constraints through the command line."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

PRICES = (
    "small: {input: 1, output: 1}\nmedium: {input: 2, output: 2}\nlarge: {input: 9, output: 9}\n"
)


@pytest.fixture
def route(toy: Any, tmp_path: Path) -> Any:
    """Route the toy's table by a runner and flags."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "rules.yaml").write_text("- {tag: word, never: small}\n- {tag: sum, only: x}\n")
    (tmp_path / "good.yaml").write_text("- {tag: word, never: small}\n")

    def run(runner: Any, *flags: object) -> Any:
        files = ("--input", toy.table, "--output", tmp_path / "out.parquet", "--lake", toy.lake)
        return runner("route", *files, *flags)

    return run


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--policy budget", ("--usd-per-1000", "--usd-total")),
        ("--policy budget --usd-total 1", ("no price for", "--prices")),
        ("--policy best --usd-total 1", ("--usd-total", "--policy is best")),
        ("--policy threshold --strong-share 0.3", ("--strong and --weak",)),
        ("--policy threshold --strong-share 1.3", ("--strong-share '1.3'",)),
        ("--policy cascade --accept-from 0.5", ("no price for", "--prices")),
        ("--fallback huge", ("--fallback huge", "large, medium, small")),
        ("--rules rules.yaml", ("rules.yaml: rule 2: x", "large, medium, small")),
        ("--max-context prices.yaml", ("prices.yaml", "a whole number of tokens")),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    flags: str, words: tuple[str, ...], route: Any, told: Any, tmp_path: Path
) -> None:
    result = route(told, *flags.split())
    assert result.status != 0
    for word in words:
        assert word in result.err
    assert not (tmp_path / "out.parquet").exists()


def test_a_share_of_strong_calls_under_rules(route: Any, signalbox: Any, tmp_path: Path) -> None:
    flags = ("--policy", "threshold", "--strong-share", "0.3", "--strong", "medium")
    rules = ("--weak", "small", "--rules", tmp_path / "good.yaml", "--fallback", "medium")
    manifest = route(signalbox, *flags, *rules, "--explore", "0.1").manifest
    assert manifest["policy_facts"]["strong_share"] == 0.3
    rows = pl.read_parquet(tmp_path / "out.parquet")
    assert rows.height == manifest["rows"] == 300
    assert set(rows.filter(pl.col("task") == "word")["candidate"]) == {"medium"}
    # Half of the rows are words, which is more than the share: only exploration asks for more.
    strong = rows.filter((pl.col("task") == "sum") & (pl.col("candidate") == "medium"))
    assert 0 < strong.height < 30
    assert strong["choice_probability"].unique().to_list() == pytest.approx([0.05])
