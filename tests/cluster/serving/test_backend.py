"""Back-ends: a file of them, and the endpoints that candidates have."""

import json

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.lake.candidates import keep_specs
from cluster.lake.lake import Lake
from cluster.serving.backend import Backend, lake_backends, load_backends


def test_a_file_names_back_ends_by_candidate(tmp_path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(
        "a: {url: 'http://h:1/v1/'}\nb: {url: 'https://h', model: x, key_variable: K}\n"
    )
    found = load_backends(file)
    assert found["a"] == Backend(url="http://h:1/v1", model="a")
    assert (found["b"].model, found["b"].key_variable) == ("x", "K")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "candidates' names"),
        ("- a", "candidates' names"),
        ("a: http://h/v1", "candidate 'a'"),
        ("a: {model: x}", "url' is missing"),
        ("a: {url: ftp://h}", "http://localhost"),
        ("a: {url: http://h/v1, retries: 3}", "backend.retries"),
        ("a: {url: http://h/v1, key_variable: sk-0123456789abcdef}", "never the key itself"),
        ("a: {url: http://h/v1, timeout_seconds: 0}", "timeout_seconds"),
    ],
)
def test_what_is_no_back_end_is_refused_in_words(tmp_path, content, words) -> None:
    (tmp_path / "b.yaml").write_text(content)
    with pytest.raises(InputError, match=words) as refused:
        load_backends(tmp_path / "b.yaml")
    assert "0123456789" not in str(refused.value)


def test_candidates_of_engine_openai_have_theirs_already(tmp_path) -> None:
    lake = Lake.open(str(tmp_path / "lake"), create=True)
    endpoint = {"url": "http://h/v1", "key_variable": "K", "concurrency": 3, "retries": 2}
    specs = [
        {"name": "far", "engine": "openai", "model": "far-9b", "endpoint": endpoint},
        {"name": "near", "engine": "vllm", "model": "m"},
        {"name": "old", "imported": True},
    ]
    rows = {"candidate_id": ["1", "2", "3"], "name": [spec["name"] for spec in specs]}
    keep_specs(pl.DataFrame(rows | {"spec": list(map(json.dumps, specs))}), lake=lake)
    assert lake_backends(lake) == {
        "far": Backend(url="http://h/v1", model="far-9b", key_variable="K", concurrency=3)
    }
