"""Flags and YAML: what they come to, and what is said when they are wrong."""

from pathlib import Path
from typing import Any

import pytest

from flows.flags import UsageError, parse_flags
from flows.route import RouteParams
from flows.train import TrainParams


def train(*arguments: str) -> TrainParams:
    return parse_flags(TrainParams, arguments=list(arguments), command="train")


def usage_error(*arguments: str, params: Any = TrainParams) -> str:
    with pytest.raises(UsageError) as error:
        parse_flags(params, arguments=list(arguments), command="train")
    return str(error.value)


def test_lists_are_typed_with_commas_or_by_repeating() -> None:
    assert train("--methods", "knn,cluster_table").methods == ["knn", "cluster_table"]
    assert train("--methods", "knn", "--methods", "random").methods == ["knn", "random"]


def test_switches_are_typed_with_and_without_no() -> None:
    assert train("--promote").promote is True
    assert train("--no-promote").promote is False
    assert train().promote is False


def test_a_config_file_is_the_same_as_flags(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(
        "dataset: toy\nmethods: [knn, random]\nray-address: ''\nseed: 3\npromote: true\n"
    )
    flags = ("--dataset", "toy", "--methods", "knn,random", "--seed", "3", "--promote")
    assert train("--config", str(file)) == train(*flags)


def test_a_flag_wins_over_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("dataset: toy\nseed: 3\nmethods: [knn]\n")
    params = train("--seed", "4", f"--config={file}", "--methods", "random")
    assert (params.dataset, params.seed, params.methods) == ("toy", 4, ["random"])


def test_an_empty_config_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("# nothing\n")
    assert train("--config", str(file)) == TrainParams()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sed", "3"), ("--sed", "did you mean --seed?", "signalbox train --help")),
        (("--seed",), ("--seed", "expected one argument")),
        (("--seed", "x"), ("--seed 'x'", "integer")),
        (("--seed", "-1"), ("--seed", "greater than or equal to 0")),
        (("--methods", "knn,nope"), ("--methods 'nope'", "'cluster_table'", "'knn'")),
        (("--config",), ("--config needs",)),
        (("--config", "nowhere.yaml"), ("nowhere.yaml", "no such file", "--config")),
        (("stray",), ("stray",)),
    ],
)
def test_a_wrong_flag_is_named(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    message = usage_error(*arguments)
    for word in words:
        assert word in message


def test_every_missing_flag_is_named_with_what_it_takes() -> None:
    message = usage_error(params=RouteParams)
    for name in ("input", "output"):
        assert f"--{name} is missing: {RouteParams.model_fields[name].description}" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"dataset: a\nmethods: [knn\n", ("line 3", "broken YAML")),
        (b"dataset: a\nsed: 3\n", ("unknown field 'sed'", "did you mean 'seed'?")),
        (b"seed: many\n", ("field 'seed'", "'many'", "integer")),
        (b"methods: [nope]\n", ("field 'methods'", "'nope'", "'knn'")),
        (b"- a\n- b\n", ("expected fields and values",)),
        (b"dataset: caf\xe9\n", ("byte 12", "UTF-8")),
    ],
)
def test_a_wrong_config_file_is_named_with_the_place(
    content: bytes, words: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "train.yaml"
    file.write_bytes(content)
    message = usage_error("--config", str(file))
    assert "\n" not in message
    for word in (str(file), *words):
        assert word in message


def test_a_wrong_flag_is_not_blamed_on_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("seed: 3\n")
    assert usage_error("--config", str(file), "--seed", "x").startswith("--seed 'x'")
