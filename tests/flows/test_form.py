"""The forms of the deployed flows: what comes first, in which words, and what they refuse."""

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from flows.champion import rollback
from flows.deployments import DEPLOYMENTS
from flows.form import FormParams
from flows.params import FlowParams
from flows.route import RouteParams

FLOWS = {deployment.name: deployment.flow() for deployment in DEPLOYMENTS} | {"rollback": rollback}
WIDGETS = {"string", "integer", "number", "boolean"}


def fields(flow: Any) -> dict[str, dict[str, Any]]:
    """The fields of a flow's form as the server has them, in the order they are shown in."""
    definitions = flow.parameters.definitions or {}
    assert list(flow.parameters.properties) == ["params"]
    (model,) = [found for found in definitions.values() if "properties" in found]
    shown: dict[str, dict[str, Any]] = model["properties"]
    return dict(sorted(shown.items(), key=lambda item: item[1]["position"]))


@pytest.mark.parametrize("name", FLOWS)
def test_every_field_has_a_title_a_help_and_a_widget(name: str) -> None:
    for field in fields(FLOWS[name]).values():
        assert field["title"].strip()
        assert field["description"].strip()
        assert field.get("items", field)["type"] in WIDGETS
        assert len(field.get("items", field).get("enum", [])) < 30
    titles = [field["title"] for field in fields(FLOWS[name]).values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", FLOWS)
def test_bounds_stand_in_the_words_of_json_schema(name: str) -> None:
    for field in fields(FLOWS[name]).values():
        assert not {"ge", "gt", "le", "lt"} & field.keys(), field


@pytest.mark.parametrize("name", FLOWS)
def test_help_speaks_of_fields_not_of_flags(name: str) -> None:
    for field in fields(FLOWS[name]).values():
        assert "--" not in field["description"], field


@pytest.mark.parametrize("name", FLOWS)
def test_positions_are_those_of_the_shown_order_and_what_all_flows_have_is_last(name: str) -> None:
    shown = fields(FLOWS[name])
    assert [field["position"] for field in shown.values()] == list(range(len(shown)))
    assert list(shown)[-1] == "lake"
    assert "ray_address" not in list(shown)[:-2]


def test_a_route_begins_with_the_file_and_a_policy_stands_before_what_it_reads() -> None:
    shown = list(fields(FLOWS["route"]))
    assert shown[:3] == ["input", "text_column", "output"]
    policy = shown.index("policy")
    assert policy < min(map(shown.index, ("lambda_usd", "usd_total", "floor", "accept_from")))
    assert set(shown) == set(RouteParams.model_fields)


class _Shown(FlowParams):
    FIRST: ClassVar[tuple[str, ...]] = ("later",)

    other_way: float = Field(default=0.5, gt=0, lt=1, title="Other", description="Of <x> and *y*")
    needed: int = Field(ge=1, le=9000, title="Needed", description="See --later and --other-way")
    later: str = Field(default="", title="Later", description="Of policy best: see --elsewhere")


def test_a_form_has_titles_for_flags_bounds_in_words_and_no_markup() -> None:
    shown = _Shown.model_json_schema()["properties"]
    assert list(shown) == ["later", "needed", "other_way", "ray_address", "lake"]
    assert shown["needed"]["description"] == "See 'Later' and 'Other'. From 1 to 9,000"
    assert shown["other_way"]["description"] == r"Of \<x\> and \*y\*. Between 0 and 1"
    assert shown["later"]["description"] == "See --elsewhere"


def test_a_choice_is_written_as_it_is_chosen() -> None:
    bound = fields(FLOWS["calibrate"])["bound"]["description"]
    assert bound.startswith("betting is true")
    assert fields(FLOWS["route"])["bound"]["description"].startswith("Of policy quality_floor: ")


class _Text(FormParams):
    text: str = Field(title="Text", description="Any")


@given(st.text(alphabet=" a/\n\r"))
def test_line_ends_around_a_text_are_none_of_it(text: str) -> None:
    assert _Text(text=f"\n{text}x\r\n").text == f"{text}x".lstrip("\r\n")


@pytest.mark.parametrize(("name", "field"), [("train", "folds"), ("evaluate", "cross")])
def test_the_form_knows_that_one_fold_is_none(name: str, field: str) -> None:
    from jsonschema import Draft202012Validator

    schema = fields(FLOWS[name])[field]
    refused = [value for value in range(4) if not Draft202012Validator(schema).is_valid(value)]
    assert refused == [1]


@pytest.mark.parametrize("name", FLOWS)
def test_an_address_with_a_password_is_refused_before_a_run_is_made(name: str) -> None:
    from prefect.utilities.schema_tools.validation import validate

    schema = FLOWS[name].parameters.model_dump()
    typed = [field for field, one in fields(FLOWS[name]).items() if _is_text(one)]
    assert "lake" in typed
    for field in typed:
        for address, refused in (("http://me:word@host:1", True), ("s3://bucket/prefix", False)):
            is_list = fields(FLOWS[name])[field]["type"] == "array"
            params = {"params": {field: [address] if is_list else address}}
            found = [one for one in validate(params, schema) if one.validator == "pattern"]
            assert bool(found) == refused, (field, address)


def _is_text(field: dict[str, Any]) -> bool:
    one = field.get("items", field)
    return one["type"] == "string" and "enum" not in one
