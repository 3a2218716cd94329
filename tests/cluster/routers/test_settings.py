from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.routers.fit import load_method
from cluster.routers.settings import GivenSettings, check_settings, read_settings


@pytest.fixture
def written(tmp_path: Path):
    """The path of a settings file with that content."""

    def write(content: str | bytes) -> str:
        file = tmp_path / "settings.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


def test_a_file_gives_settings_by_method(written):
    file = written("knn: {k: 20}\ncluster_table:\n  encoder: lexical\n")
    assert read_settings(file) == {"knn": {"k": 20}, "cluster_table": {"encoder": "lexical"}}


def test_no_file_gives_nothing():
    assert read_settings("") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("knn: {k: 20", ("line 1", "broken YAML")),
        ("- knn\n", ("expected methods with their settings",)),
        ("knn: 20\n", ("'knn'", "found 20", "knn: {k: 20}")),
        ("", ("expected methods with their settings",)),
        (b"knn: {k: caf\xe9}", ("byte 12", "UTF-8")),
    ],
)
def test_a_wrong_file_is_named_with_the_place(content, words, written):
    file = written(content)
    with pytest.raises(InputError) as error:
        read_settings(file)
    for word in (file, *words):
        assert word in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"nowhere.yaml.*--settings"):
        read_settings("nowhere.yaml")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (GivenSettings(by_method={"knm": {"k": 3}}), ("router 'knm' is not installed", "knn")),
        (GivenSettings(by_method={"knn": {"neighbours": 3}}), ("knn", "neighbours", "k,")),
        (GivenSettings(by_method={"knn": {"k": 0}}), ("knn", "k", "greater")),
        (GivenSettings(encoder="nope"), ("encoder 'nope' is not installed", "lexical")),
        (
            GivenSettings(encoder_model="folder"),
            ("encoder 'lexical'", "field 'model'", "max_terms"),
        ),
    ],
)
def test_what_a_method_does_not_take_is_refused(given, words):
    with pytest.raises(InputError) as error:
        check_settings(given, methods=["knn"], file="own.yaml")
    for word in words:
        assert word in str(error.value)
    assert ("own.yaml" in str(error.value)) == bool(given.by_method)


def test_what_every_method_takes_passes():
    given = GivenSettings(by_method={"knn": {"k": 20}, "random": {}})
    check_settings(given, methods=["knn", "cluster_table", "best_single"])


@pytest.mark.parametrize(
    ("given", "name", "fixed"),
    [
        (GivenSettings(), "knn", {"encoder": "lexical"}),
        (GivenSettings(), "best_single", {}),
        (
            GivenSettings("huggingface", "/model"),
            "knn",
            {"encoder": "huggingface", "encoder_settings": {"model": "/model"}},
        ),
        (
            GivenSettings("huggingface", "/model", {"knn": {"encoder": "lexical", "k": 5}}),
            "knn",
            {"encoder": "lexical", "k": 5},
        ),
    ],
)
def test_a_method_is_given_its_own_settings_and_an_encoder_if_it_has_one(given, name, fixed):
    assert given.of(name, method=load_method(name)) == fixed
