"""The task as a tag, and what every tagger's identity rests on."""

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.tags.tagger import load_tagger

SCHEMA = {"query_id": pl.String, "task": pl.String, "text": pl.String}


def queries(*tasks: str | None) -> pl.DataFrame:
    rows = [(f"q{index}", task, "same text") for index, task in enumerate(tasks)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_a_query_is_tagged_with_its_task():
    tags = load_tagger("task").tag(queries("math", "code", "math"))
    assert tags.rows() == [("q0", "math"), ("q1", "code"), ("q2", "math")]


def test_no_task_no_tag():
    tags = load_tagger("task").tag(queries("", None, " \t", "math"))
    assert tags.rows() == [("q3", "math")]


@pytest.mark.parametrize("none", [queries(), queries(None, None), queries("")])
def test_without_tags_the_columns_are_still_there(none):
    assert load_tagger("task").tag(none).schema == {"query_id": pl.String, "tag": pl.String}


def test_identity():
    tagger = load_tagger("task")
    assert tagger.spec() == {"tagger": "task", "version": 1}
    assert tagger.tagger_id == load_tagger("task").tagger_id
    assert len(tagger.tagger_id) == 64


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(InputError, match="nobody"):
        load_tagger("nobody")
    with pytest.raises(InputError, match="depth"):
        load_tagger("task", depth=2)
