"""The page of a run: made of its manifest alone, whatever is known, whatever names there are."""

import json
from html.parser import HTMLParser

import pytest

from cluster.routing.report import alarms, headline, report

EVIL = '<script>alert("x")</script> & $1^2$'


@pytest.fixture
def manifest() -> dict:
    """A run of a hundred rows between two candidates, everything known."""
    return {
        "outputs": ["/data/routed.parquet"],
        "inputs": ["/data/in.csv"],
        "router": "f" * 64,
        "policy": "utility",
        "policy_facts": {"lambda_usd": 12.5},
        "rows": 100,
        "shares": {"small": 0.75, "large": 0.25},
        "predicted_reward": 0.7,
        "predicted_reward_if_always": {"small": 0.5, "large": 0.65},
        "predicted_cost_usd": 2.0,
        "predicted_cost_usd_if_always": {"small": 1.0, "large": 8.0},
        "broken": 3,
        "quarantine": "/lake/runs/r/quarantine.jsonl",
        "left_out": {
            "reasons": [{"reason": "field 'text' is blank", "rows": 3}],
            "first": [{"file": "/data/in.csv", "row": 7, "reason": "blank", "raw": '{"text": ""}'}],
        },
        "tags_by": "the column 'task'",
        "tags": [
            {
                "tag": "sums",
                "rows": 100,
                "shares": {"small": 0.75, "large": 0.25},
                "predicted_reward": 0.7,
                "predicted_cost_usd": 2.0,
            }
        ],
        "drift": {
            "rows": 100,
            "sampled": 100,
            "psi": 0.4,
            "psi_by_chance": 0.02,
            "psi_limit": 0.1,
            "far": 0.01,
            "far_expected": 0.01,
            "far_limit": 0.05,
            "shares": [0.2, 0.8],
            "trained": [0.5, 0.5],
            "parts": [0.3, 0.1],
            "names": ["sums: add", "law: court"],
            "alarms": ["another mix of queries"],
        },
        "feedback": {"drawn": 4, "new": 2, "dataset": "routed"},
        "seconds": {"all": 2.0, "first_rows": None},
        "rows_per_second": 50.0,
    }


def test_a_candidate_the_router_knows_nothing_of_is_not_the_best_and_has_a_dash(manifest):
    manifest["predicted_reward_if_always"] = {"unknown": None, "small": 0.5, "large": 0.65}
    manifest["predicted_cost_usd_if_always"]["unknown"] = 3.0
    assert ("against always large", "+0.0500") in headline(manifest)
    assert "nan" not in text_of(report(manifest)).lower()
    manifest |= {"predicted_reward": None, "predicted_reward_if_always": {"small": None}}
    manifest["tags"][0]["predicted_reward"] = None
    assert ("predicted reward", "–") in headline(manifest)
    assert "nan" not in text_of(report(manifest)).lower()


def text_of(page: bytes) -> str:
    """What a reader sees; fails on tags that are not closed."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.said: list[str] = []
            self.tags: set[str] = set()

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)

        def handle_data(self, data):
            self.said.append(data)

    reader = Reader()
    reader.feed(page.decode())
    assert "script" not in reader.tags
    return " ".join(" ".join(reader.said).split())


def test_the_first_numbers_are_those_against_the_best_single_candidate(manifest):
    told = dict(headline(manifest))
    assert told["queries"] == "100"
    assert told["against always large"] == "+0.0500"
    assert told["of the cost of always large"] == "25.0 %"
    assert alarms(manifest) == ["Drift: another mix of queries."]


def test_the_page_says_what_the_run_was(manifest):
    said = text_of(report(manifest))
    for words in (
        "Routed: routed.parquet",
        "lambda is 12.5 reward per USD",
        "always large",
        "field 'text' is blank",
        "2 that the lake did not have",
        "0.400",
        "law: court",
        "/lake/runs/r/quarantine.jsonl",
    ):
        assert words in said


def test_whatever_users_write_is_shown_and_not_run(manifest):
    dangerous = json.loads(json.dumps(manifest).replace("sums", "SUMS"))
    for key in ("shares", "predicted_reward_if_always", "predicted_cost_usd_if_always"):
        dangerous[key][EVIL] = dangerous[key].pop("small")
    dangerous["tags"][0] |= {"tag": EVIL, "shares": dangerous["shares"]}
    dangerous["drift"]["names"][0] = EVIL
    dangerous["left_out"]["first"][0] |= {"raw": EVIL, "reason": EVIL}
    dangerous["left_out"]["reasons"][0]["reason"] = EVIL
    dangerous["feedback"]["dataset"] = EVIL
    dangerous["outputs"] = [f"/data/{EVIL}"]
    page = report(dangerous)
    assert b"<script" not in page
    assert EVIL in text_of(page)


def test_without_costs_drift_tags_and_feedback_the_page_says_so(manifest):
    bare = manifest | {
        "predicted_cost_usd": None,
        "predicted_cost_usd_if_always": {"small": None, "large": None},
        "drift": None,
        "tags": [],
        "feedback": None,
        "broken": 0,
        "quarantine": None,
        "left_out": None,
        "policy": "best",
        "policy_facts": {},
    }
    said = text_of(report(bare))
    assert "Costs are not known" in said
    assert "drift is not known: the router's checkpoint has no profile" in said
    assert "None: every row of the input is in the output" in said
    assert "come back" not in said


def test_one_candidate_and_many_tags_are_drawn(manifest):
    one = {"small": 1.0}
    tag = manifest["tags"][0] | {"shares": one}
    alone = manifest | {
        "shares": one,
        "predicted_reward_if_always": {"small": 0.7},
        "predicted_cost_usd_if_always": {"small": 2.0},
        "tags": [tag | {"tag": f"task {n}"} for n in range(60)],
    }
    said = text_of(report(alone))
    assert "25 most frequent of 60" in said
    assert "task 59" in said


def test_the_same_run_gives_the_same_page(manifest):
    assert report(manifest) == report(manifest)


def test_a_promise_on_a_file_whose_drift_is_not_known_is_an_alarm(manifest):
    facts = {"floor": 0.95, "reference": "large", "promise": "what may be told of it"}
    floor = manifest | {"policy": "quality_floor", "policy_facts": facts, "drift": None}
    [alarm] = alarms(floor)
    assert "drift is not known" in alarm
    assert "what may be told of it" in text_of(report(floor))
    assert alarms(manifest | {"drift": None}) == []
