"""JSON that has to follow a schema."""

import http.server
import json
import threading

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.candidate import Resources
from cluster.rewards.json_schema import JsonSchema

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}
ONE = Resources(cpus=1)


def table(pairs: list[tuple[str | None, object]]) -> pl.DataFrame:
    rows = [
        ("q", text, schema if isinstance(schema, str | None) else json.dumps(schema))
        for text, schema in pairs
    ]
    schema = {"query": pl.String, "text": pl.String, "reference": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture(scope="module")
def rate():
    """One worker for all; 1 s an answer."""
    with JsonSchema(seconds=1, resources=ONE).open() as rate:
        yield lambda *pairs: rate(table(list(pairs))).ratings.select("value", "reason").rows()


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada"}',
        ' {"name": "Ada", "age": 36}\n',
        'Here it is:\n```json\n{"name": "Ada"}\n```\nDone.',
        'First\n```\n[1]\n```\nthen\n~~~\n{"name": "Ada"}',
    ],
)
def test_json_that_follows_the_schema(rate, text):
    assert rate((text, SCHEMA)) == [(1.0, None)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"age": 3}', "'name' is a required property"),
        ('{"name": "Ada", "age": -1}', "$.age: -1 is less than the minimum"),
        ('{"name": 1e999}', "$.name"),
        ('{"name": NaN}', "NaN is not JSON"),
        ("Ada", "no JSON"),
        ("", "no JSON"),
        ("```json\n{\n```", "no JSON"),
        ("[" * 200_000, "no JSON: nested too deeply"),
        ("9" * 5_000, "no JSON"),
    ],
)
def test_what_is_wrong_is_the_reason(rate, text, fault):
    ((value, reason),) = rate((text, SCHEMA))
    assert value == 0.0
    assert fault in reason


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ("{", "no JSON"),
        ("[1]", "expected a JSON Schema"),
        ({"type": "strin"}, "no JSON Schema"),
        ({"$ref": "#/$defs/none"}, "which is not in it"),
        ({"$ref": "file:///etc/passwd"}, "which is not in it"),
        ({"pattern": "(a+)+$"}, "time limit"),
    ],
)
def test_a_schema_that_cannot_be_used_is_no_reward(rate, schema, fault):
    text = json.dumps("a" * 40 + "b")
    ((value, reason),) = rate((text, schema))
    if fault == "time limit":
        assert (value, reason) == (0.0, "time limit of 1 s")
    else:
        assert value is None
        assert reason.startswith("the reference: ")
        assert fault in reason


def test_nothing_is_fetched(rate):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        ((value, reason),) = rate(("1", {"$ref": f"http://127.0.0.1:{server.server_port}/s"}))
        server.shutdown()
        thread.join()
    assert value is None
    assert "which is not in it" in reason
    assert asked == []


def test_missing_is_missing_and_drafts_are_known(rate):
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1}
    old |= {"exclusiveMinimum": True}
    rows = rate((None, SCHEMA), ("1", None), ("1", " "), ("1", old), ("2", old), ("1", "true"))
    assert [value for value, _ in rows] == [None, None, None, 0.0, 1.0, 1.0]


def test_one_schema_for_all_needs_no_reference():
    scorer = JsonSchema(json_schema=SCHEMA, resources=ONE)
    answers = table([('{"name": "Ada"}', None), ("[]", "{}")])
    assert scorer.score(answers).to_list() == [1.0, 0.0]


def test_where_it_runs_is_no_part_of_its_identity():
    assert JsonSchema(resources=ONE).scorer_id == JsonSchema().scorer_id
    assert JsonSchema(json_schema=SCHEMA).scorer_id != JsonSchema().scorer_id


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_every_value_follows_itself(rate, value):
    text = json.dumps(value)
    assert rate((text, {"const": value}), (text, {"not": {"const": value}})) == [
        (1.0, None),
        (0.0, rate((text, {"not": {"const": value}}))[0][1]),
    ]
