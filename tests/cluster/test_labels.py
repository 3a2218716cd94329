"""Which scorers and taggers label a collection: names, a file, and what is wrong with it."""

import traceback
from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.labels import need_references, read_labels, scorers_for


def written(folder: Path, text: str) -> str:
    file = folder / "labels.yaml"
    file.write_text(text)
    return str(file)


def test_names_come_first_then_the_file_s_entries(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "scorers: {strict: {scorer: numeric, tolerance: 0.0}, exact: {alternatives: '|'}}\n"
        "taggers: {few: {tagger: clusters, n_clusters: 3}}",
    )
    found = read_labels(file, scorers=["exact", "multiple_choice"], taggers=["task"])
    assert [label.name for label in found.scorers] == ["multiple_choice", "strict", "exact"]
    assert found.scorers[1].scorer().spec()["tolerance"] == 0.0
    assert found.scorers[2].scorer().spec()["alternatives"] == "|"
    assert [label.name for label in found.taggers] == ["task", "few"]
    assert found.taggers[1].tagger().spec()["n_clusters"] == 3


def test_without_a_file_there_are_the_names_alone() -> None:
    found = read_labels("", scorers=["exact"], taggers=[])
    assert [(label.name, label.method) for label in found.scorers] == [("exact", "exact")]
    assert not found.taggers


def test_a_scorer_comes_with_those_it_reads(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "scorers: {top: {scorer: weighted, of: {mix: 1, numeric: 1}}, other: {scorer: exact},"
        " mix: {scorer: weighted, of: {strict: 1, imported: 1}}, strict: {scorer: exact}}",
    )
    known = read_labels(file, scorers=[], taggers=[]).scorers
    found = [label.name for label in scorers_for("top", among=known)]
    assert sorted(found) == ["mix", "numeric", "strict", "top"]
    assert found.index("strict") < found.index("mix") < found.index("top")
    assert [label.name for label in scorers_for("other", among=known)] == ["other"]
    assert not scorers_for("imported", among=known)


def test_scorers_that_read_each_other_are_named(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "scorers: {a: {scorer: weighted, of: {b: 1}}, b: {scorer: weighted, of: {a: 1}}}",
    )
    with pytest.raises(InputError, match=r"read each other: '[ab]' reads '[ab]' reads '[ab]'"):
        read_labels(file, scorers=[], taggers=[])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["expected 'scorers:'"]),
        ("[1]", ["expected 'scorers:'"]),
        ("judges: {}", ["unknown part 'judges'"]),
        ("scorers: [exact]", ["scorers", "names with their settings"]),
        ("scorers: {mine: 3}", ["scorer 'mine'", "found 3"]),
        ("scorers: {mine: {}}", ["scorer 'mine'", "not installed", "numeric"]),
        ("scorers: {mine: {scorer: numeric, tolerence: 1}}", ["'mine'", "tolerence", "tolerance"]),
        ("taggers: {mine: {tagger: clusters, n_clusters: 0}}", ["tagger 'mine'", "n_clusters"]),
        ("scorers: {", ["line 1", "broken YAML"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_labels(file, scorers=[], taggers=[])
    assert all(word in str(error.value) for word in [file, *words])


def test_a_scorer_that_needs_settings_says_where_they_go_and_which_are_the_user_s() -> None:
    with pytest.raises(InputError) as error:
        read_labels("", scorers=["reward_model"], taggers=[])
    told = str(error.value)
    assert "field 'model' is missing" in told
    assert "--labels" in told
    assert "max_model_len" in told
    assert "digest" not in told


def test_what_signalbox_fills_is_not_offered_as_a_setting(tmp_path: Path) -> None:
    entry = "{scorer: judge, candidate: {engine: vllm, model: m, modle_digest: x}}"
    with pytest.raises(InputError, match=r"unknown field .*modle_digest") as error:
        read_labels(written(tmp_path, f"scorers: {{mine: {entry}}}"), scorers=[], taggers=[])
    assert "model_digest" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml.*--labels"):
        read_labels(str(tmp_path / "none.yaml"), scorers=[], taggers=[])


SECRET = "sk-live-4f9aB7cD2eF6gH1jK3mN"


@pytest.mark.parametrize(
    ("candidate", "field"),
    [
        (f"endpoint: {{url: 'http://far/v1', api_key: {SECRET}}}", "api_key"),
        (f"endpoint: {{url: 'http://far/v1', key_variable: {SECRET}}}", "key_variable"),
        (f"endpoint: {{url: 'http://u:{SECRET}@far/v1'}}", "url"),
        (f"endpoint: {SECRET}", "endpoint"),
        (f"endpoint: {{url: 'http://far/v1'}}, api_key: {SECRET}", "api_key"),
        (f"endpoint: {{url: 'http://{SECRET}.far/v1', retries: 99}}", "retries"),
    ],
)
def test_no_secret_of_a_judge_is_repeated(tmp_path: Path, candidate: str, field: str) -> None:
    file = written(
        tmp_path,
        f"scorers: {{grade: {{scorer: judge, candidate: {{engine: openai, model: m, {candidate}}},"
        " mode: grade}}",
    )
    with pytest.raises(InputError, match=field) as caught:
        read_labels(file, scorers=[], taggers=[])
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "grade" in str(caught.value)


def test_a_key_among_a_judge_s_own_settings_is_not_repeated(tmp_path: Path) -> None:
    file = written(tmp_path, f"scorers: {{grade: {{scorer: judge, api_key: {SECRET}}}}}")
    with pytest.raises(InputError, match="unknown field 'api_key'") as caught:
        read_labels(file, scorers=[], taggers=[])
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("{exact: {}, f1: {}, math: {}, code: {}}", True),
        ("{numeric: {}, multiple_choice: {}, gold_option: {}, regex: {}, json_schema: {}}", True),
        ("{exact: {}, regex: {pattern: 'a+'}}", False),
        ("{exact: {}, json_schema: {json_schema: {type: object}}}", False),
        ("{exact: {}, mix: {scorer: weighted, of: {exact: 1.0}}}", True),
        ("{mix: {scorer: weighted, of: {exact: 1.0}}}", False),
    ],
)
def test_whether_any_scorer_does_without_references(
    entries: str, expected: bool, tmp_path: Path
) -> None:
    """What is made of others' rewards is judged by these, where they run as well."""
    labels = read_labels(written(tmp_path, f"scorers: {entries}"), scorers=[], taggers=[])
    assert need_references(labels.scorers) is expected
