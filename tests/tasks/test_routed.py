"""What the UI is told of a routed file."""

from typing import Any

import pytest

from tasks import routed as routed_module
from tasks.routed import plain, show_routed

MANIFEST: dict[str, Any] = {
    "rows": 10,
    "router": "f" * 64,
    "policy": "best",
    "policy_facts": {},
    "shares": {"a|b": 0.5, "[x](http://y)": 0.5},
    "predicted_reward": 0.5,
    "predicted_reward_if_always": {"a|b": 0.4, "[x](http://y)": 0.3},
    "predicted_cost_usd": None,
    "predicted_cost_usd_if_always": {"a|b": None, "[x](http://y)": None},
    "tags_by": "the column 'task'",
    "tags": [
        {
            "tag": "sums",
            "rows": 10,
            "shares": {"a|b": 0.5, "[x](http://y)": 0.5},
            "predicted_reward": 0.5,
            "predicted_cost_usd": None,
        }
    ],
    "drift": None,
    "left_out": {"reasons": [], "first": []},
    "broken": 0,
    "seconds": {"all": 2.0},
    "rows_per_second": None,
    "report": "/lake/report.html",
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was shown, by key."""
    found: dict[str, Any] = {}

    def keep(content: Any, *, key: str, description: str) -> None:
        found[key] = content

    monkeypatch.setattr(routed_module, "table_artifact", keep)
    monkeypatch.setattr(routed_module, "markdown_artifact", keep)
    monkeypatch.setattr(routed_module, "link_artifact", keep)
    return found


def test_shares_kinds_and_the_page_are_shown(shown: dict[str, Any]) -> None:
    show_routed(MANIFEST)
    assert shown["routed"][0]["predicted_reward_if_always"] == 0.4
    assert shown["routed-kinds"][0]["a|b"] == 0.5
    assert shown["drift"] == []
    assert shown["routed-report"] == "/lake/report.html"


def test_names_are_no_markup(shown: dict[str, Any]) -> None:
    odd = MANIFEST | {"predicted_reward_if_always": {"a|b": 0.1, "[x](http://y)": 0.3}}
    show_routed(odd)
    assert "[x](http" not in shown["routed-words"]
    assert plain("<b>*a*</b>") == r"\<b\>\*a\*\</b\>"
