"""Tables, links and decisions as the UI gets them."""

from typing import Any

import pytest

from tasks import artifacts, evaluated
from tasks.artifacts import artifact_key, link_artifact, png_artifact, table_artifact


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What was asked of Prefect, by key."""
    found: dict[str, dict[str, Any]] = {}

    def keep(*, key: str, **given: Any) -> None:
        found[key] = given

    for kind in ("table", "link", "markdown"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", keep)
    return found


def test_a_table_has_short_numbers_and_headings_in_words(made: dict[str, Any]) -> None:
    row = {"mean_cost_usd": 0.15000000000000002, "rows": 12345, "big": 123456.75, "of": None}
    table_artifact([row], key="Some_Table", description="x")
    assert made["some-table"]["table"] == [
        {"mean cost usd": 0.15, "rows": 12345, "big": 123456.75, "of": "–"}
    ]
    table_artifact([], key="none", description="x")
    assert "none" not in made


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("/lake/a b(1).html", "file:///lake/a%20b%281%29.html"),
        ("s3://bucket/report.html", "s3://bucket/report.html"),
    ],
)
def test_a_page_is_linked_and_its_path_can_be_read(
    uri: str, link: str, made: dict[str, Any]
) -> None:
    link_artifact(uri, key="page", description="x")
    assert made["page"]["link"] == link
    assert made["page"]["link_text"] == uri


def test_a_picture_is_shown_with_its_content(made: dict[str, Any]) -> None:
    png_artifact(b"picture", key="drawn", description="A [picture]")
    assert made["drawn"]["markdown"] == (r"![A \[picture\]](data:image/png;base64,cGljdHVyZQ==)")


def test_a_decision_is_a_verdict_with_its_reason_and_its_intervals(made: dict[str, Any]) -> None:
    compared = {"against": "best single", "gain": 0.2, "low": 0.1, "high": 0.3, "n": 100}
    evaluated.show_decision(
        {
            "version": "f" * 64,
            "promoted": True,
            "why": "gain [+0.1] is above 0",
            "comparisons": [compared],
            "snapshot": "first",
            "level": 0.0125,
        }
    )
    assert "**Router ffffffffffff is champion now**" in made["decision"]["markdown"]
    assert r"gain \[\+0.1\] is above 0" in made["decision"]["markdown"]
    assert "0.013" in made["decision"]["markdown"] or "0.012" in made["decision"]["markdown"]
    row = {"against": "best single", "gain": "+0.2", "interval": "[+0.1, +0.3]", "queries": 100}
    assert made["decision-table"]["table"] == [row]


def test_a_decision_without_a_comparison_has_no_table(made: dict[str, Any]) -> None:
    evaluated.show_decision({"version": "a" * 64, "promoted": False, "why": "too few"})
    assert "stays challenger" in made["decision"]["markdown"]
    assert set(made) == {"decision"}


def test_keys_are_what_prefect_takes() -> None:
    assert artifact_key("Collect", "my model/7B_x") == "collect-my-model-7b-x"
