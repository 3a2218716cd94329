"""The fields of a policy: what it does not read is refused, and what it lacks is asked for."""

from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.lake.context_limits import read_context_limits
from cluster.lake.lake import Lake
from flows.policy_fields import PolicyFields, check_policy, constraints_of, policy_settings


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, {}),
        ({"policy": "utility", "lambda_usd": 3}, {"lambda_usd": 3}),
        ({"policy": "budget", "usd_per_1000": 0.5}, {"usd_per_1000": 0.5}),
        ({"policy": "budget", "usd_total": 0}, {"usd_total": 0}),
        ({"policy": "threshold", "strong_share": 0.3}, {"strong_share": 0.3}),
        ({"policy": "cascade", "accept_from": 0.8}, {"accept_from": 0.8}),
        ({"policy": "cascade", "threshold": -0.1}, {"threshold": -0.1}),
    ],
)
def test_a_policy_gets_the_settings_that_it_reads(fields, settings) -> None:
    params = PolicyFields(**fields)
    check_policy(params)
    assert policy_settings(params) == settings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lambda_usd": 1}, "--lambda-usd is read by utility, and --policy is best"),
        ({"policy": "utility", "usd_total": 1}, "--usd-total is read by budget"),
        ({"strong_share": 0.3}, "--strong-share is read by threshold, cascade"),
        ({"policy": "budget", "delta": 0.05}, "--delta is read by quality_floor"),
        ({"reward_max": 5}, "--reward-max is read by quality_floor, and --policy is best"),
        ({"policy": "budget"}, "needs one of --usd-per-1000, --usd-total; 0 given"),
        ({"policy": "budget", "usd_per_1000": 1, "usd_total": 1}, "2 given"),
        ({"policy": "threshold"}, "needs one of --strong-share, --threshold"),
        ({"policy": "cascade"}, "needs one of --accept-from, --strong-share, --threshold"),
        ({"tag_column": "kind"}, "--tag-column is for the rules"),
        ({"language": "lang"}, "--language is for the rules"),
        ({"policy": "quality_floor", "explore": 0.1}, "--explore sends queries"),
        ({"rules": "nowhere.yaml"}, "nowhere.yaml: there is no such file; check --rules"),
    ],
)
def test_what_does_not_fit_is_told_by_its_flag(fields, words) -> None:
    with pytest.raises(InputError) as error:
        check_policy(PolicyFields(**fields))
    assert words in str(error.value)


def test_a_form_leaves_out_the_numbers_that_are_not_given() -> None:
    shown = PolicyFields.model_json_schema()["properties"]
    for name in ("usd_per_1000", "usd_total", "strong_share", "threshold", "accept_from"):
        assert shown[name]["type"] == "number"
        assert "default" not in shown[name]
    assert PolicyFields().threshold is None


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path / "lake"))


def test_constraints_are_the_routers_own_and_name_its_candidates(tmp_path, lake) -> None:
    rules, limits = tmp_path / "rules.yaml", tmp_path / "limits.yaml"
    rules.write_text("- {tag: medical, only: b}\n")
    limits.write_text("a: 4096\nz: 10\n")
    params = PolicyFields(
        rules=str(rules), max_context=str(limits), allowed=["a", "b"], fallback="a", explore=0.1
    )
    found = constraints_of(params, candidates=("a", "b"), lake=lake)
    assert found.context == {"a": 4096}
    assert (found.allowed, found.fallback, found.explore) == (("a", "b"), "a", 0.1)
    assert found.columns() == ("task",)
    with pytest.raises(InputError, match=r"rules\.yaml: rule 1: b: not among the router's"):
        constraints_of(PolicyFields(rules=str(rules)), candidates=("a", "c"), lake=lake)
    with pytest.raises(InputError, match="--fallback c: not among"):
        constraints_of(PolicyFields(fallback="c"), candidates=("a", "b"), lake=lake)


@pytest.mark.parametrize("content", ["a: 0\n", "a: many\n", "a: true\n", "a: 1.5\n", "just words"])
def test_a_limit_is_a_whole_number_of_tokens(content, tmp_path, lake) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"limits\.yaml"):
        read_context_limits(str(file), lake=lake)


def test_limits_come_from_a_candidate_file_or_are_off(tmp_path, lake) -> None:
    file = tmp_path / "candidates.yaml"
    file.write_text(
        "- {name: a, engine: vllm, model: some/model, revision: abc, max_model_len: 512}\n"
        "- {name: b, engine: vllm, model: some/model, revision: abc}\n"
    )
    assert read_context_limits(str(file), lake=lake) == {"a": 512}
    assert read_context_limits("off", lake=lake) == {}
    assert read_context_limits("", lake=lake) == {}
