"""Policies and constraints on whole files, through the route job."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs import route as route_module
from cluster.jobs.ingest import pin_files
from cluster.jobs.route import route
from cluster.jobs.run import Run
from cluster.outcome import OutcomeMatrix
from cluster.policies.constraints import Constraints
from cluster.policies.rules import Rule
from cluster.price import Price
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routing.spec import RouteSpec

CANDIDATES = ("strong", "weak")
PRICES = {"strong": Price(input=10, output=10), "weak": Price(input=1, output=1)}
ROWS = 300


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(version, folder) of a router for which the strong candidate is better at poems alone."""
    texts = [f"add {n} and {n + 1}" for n in range(40)] + [
        f"a poem on {n} trees" for n in range(40)
    ]
    reward = np.array([[0.9, 0.9]] * 40 + [[0.9, 0.1]] * 40)
    queries = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    queries = queries.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    outcomes = OutcomeMatrix(
        queries, CANDIDATES, ("id-1", "id-2"), reward, tokens, tokens, tokens, tokens, tokens * 0
    )
    folder = str(tmp_path_factory.mktemp("checkpoint") / "router")
    data = {"prompt_tokens_per_character": {"strong": 0.5, "weak": 0.5}}
    meta = CheckpointMeta(candidate_ids=("id-1", "id-2"), data=data)
    return save_checkpoint(Knn(k=5).fit(outcomes, seed=0), folder, meta=meta), folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "BATCH_ROWS", 70)


@pytest.fixture
def routed(tmp_path: Path, checkpoint: tuple[str, str]) -> Any:
    """Route 300 rows, sums and poems in turn; returns the rows and the manifest."""
    kinds = ["sum" if n % 2 else "poem" for n in range(ROWS)]
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in range(ROWS)]
    rows = pl.DataFrame({"id": range(ROWS), "text": texts, "task": kinds})
    rows.write_parquet(tmp_path / "in.parquet")

    def run(policy: str = "best", **changes: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
        settings = {
            "lake": str(tmp_path / "lake"),
            "files": pin_files(str(tmp_path / "in.parquet")),
            "output": str(tmp_path / "out.parquet"),
            "text_column": "text",
            "router": checkpoint[0],
            "checkpoint": checkpoint[1],
            "policy": policy,
            "policy_settings": {},
            "prices": PRICES,
            "max_error_share": 0.6,
            "overwrite": True,
        }
        spec = RouteSpec(**(settings | changes))
        manifest = route(spec, Run.of(spec))
        return pl.read_parquet(tmp_path / "out.parquet"), manifest

    return run


def test_a_budget_is_spent_to_a_percent_where_it_helps(routed) -> None:
    rows, manifest = routed("budget", policy_settings={"usd_per_1000": 0.08})
    spent = rows["predicted_cost_usd"].sum()
    assert 0.99 * 0.08 * 0.3 <= spent <= 0.08 * 0.3
    facts = manifest["policy_facts"]
    assert facts["binds"]
    assert facts["expected_usd"] == pytest.approx(spent)
    assert manifest["predicted_cost_usd"] == pytest.approx(spent)
    # No poem is kept from the strong candidate for a sum, which it is no better at.
    assert set(rows.filter(pl.col("candidate") == "strong")["task"]) == {"poem"}


def test_a_budget_reckons_with_what_exploration_costs(routed) -> None:
    rows, manifest = routed(
        "budget",
        policy_settings={"usd_per_1000": 0.08},
        constraints=Constraints(explore=0.2),
    )
    assert 0.99 * 0.08 * 0.3 <= rows["predicted_cost_usd"].sum() <= 0.08 * 0.3
    assert 30 < manifest["explored"] < 90
    assert set(rows["choice_probability"].round(9)) == {0.1, 0.9}


def test_a_share_of_strong_calls_is_met(routed) -> None:
    rows, manifest = routed("threshold", policy_settings={"strong_share": 0.3})
    strong = rows.filter(pl.col("candidate") == "strong")
    assert strong.height == 90
    assert set(strong["task"]) == {"poem"}
    assert manifest["policy_facts"]["strong_share"] == 0.3


def test_a_cascade_without_answers_takes_the_cheapest_that_will_do(routed) -> None:
    rows, _ = routed("cascade", policy_settings={"accept_from": 0.5})
    assert dict(rows.select("task", "candidate").unique().iter_rows()) == {
        "sum": "weak",
        "poem": "strong",
    }


def test_rows_for_which_nobody_is_left_are_set_aside_with_the_reason(routed) -> None:
    rules = (Rule(tag="poem", never=("strong", "weak")), Rule(tag="sum", only="weak"))
    constraints = Constraints(rules=rules, tag_column="task")
    rows, manifest = routed(constraints=constraints)
    assert (rows.height, manifest["broken"]) == (150, 150)
    assert set(rows["candidate"]) == {"weak"}
    assert manifest["rule_rows"] == [150, 150]
    quarantine = pl.read_ndjson(manifest["quarantine"])
    assert quarantine["row"].to_list() == list(range(1, ROWS, 2))
    assert '"never": ["strong", "weak"]' in quarantine["reason"][0]
    rows, manifest = routed(constraints=constraints.model_copy(update={"fallback": "strong"}))
    assert (rows.height, manifest["broken"], manifest["fallbacks"]) == (ROWS, 0, 150)
    assert rows["candidate"].to_list() == ["strong", "weak"] * 150


def test_too_long_for_one_candidate_goes_to_another(routed) -> None:
    # Half a token a character, and ten of the answer; sums have up to 13 characters.
    rows, _ = routed(constraints=Constraints(context={"strong": 17}))
    assert set(rows.filter(pl.col("task") == "poem")["candidate"]) == {"weak"}
    assert "strong" in set(rows.filter(pl.col("task") == "sum")["candidate"])


def test_constraints_hold_in_the_second_pass_too(routed) -> None:
    rules = (Rule(tag="poem", only="weak"),)
    constraints = Constraints(rules=rules, tag_column="task")
    rows, _ = routed("budget", policy_settings={"usd_total": 1}, constraints=constraints)
    assert set(rows.filter(pl.col("task") == "poem")["candidate"]) == {"weak"}


def test_a_column_that_a_rule_reads_must_be_there(routed) -> None:
    rules = (Rule(tag="poem", only="weak"), Rule(language="de", only="weak"))
    with pytest.raises(InputError, match=r"no column 'kind' .--tag-column."):
        routed(constraints=Constraints(rules=rules, tag_column="kind"))
    with pytest.raises(InputError, match=r"no column 'lang' .--language."):
        routed(constraints=Constraints(rules=rules, tag_column="task", language_column="lang"))


def test_a_column_that_a_rule_reads_holds_names(routed, tmp_path) -> None:
    rows = pl.read_parquet(tmp_path / "in.parquet").with_columns(kind=pl.struct("task"))
    rows.write_parquet(tmp_path / "in.parquet")
    rules = (Rule(tag="poem", only="weak"),)
    with pytest.raises(InputError, match=r"field 'kind' is Struct.*--tag-column"):
        routed(constraints=Constraints(rules=rules, tag_column="kind"))


def test_more_may_be_explored_than_the_policy_would_choose(routed) -> None:
    rows, manifest = routed(constraints=Constraints(explore=1))
    assert manifest["explored"] == ROWS
    assert 100 < rows.filter(pl.col("candidate") == "weak").height < 200
    assert set(rows["choice_probability"]) == {0.5}
    again, _ = routed(constraints=Constraints(explore=1))
    assert again["candidate"].equals(rows["candidate"])
