"""A rule file: which queries a rule is about, and what is said where it is wrong."""

from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.policies.language import detect_languages, language_codes
from cluster.policies.rules import Rule, has_any, read_rules


@pytest.mark.parametrize(
    "values",
    [
        pl.Series(["medical", "code", None, "medicals", ""]),
        pl.Series([["medical", "x"], ["code"], None, ["medicals"], []], dtype=pl.List(pl.String)),
        pl.Series(['["medical", "x"]', '["code"]', None, "[medical", "[]"]),
        pl.Series(["medical", "code", None, "x", "y"], dtype=pl.Categorical),
    ],
)
def test_a_tag_is_found_in_a_text_a_list_or_the_json_of_one(values: pl.Series) -> None:
    assert has_any(values, wanted=["medical", "law"]).to_list() == [True, *[False] * 4]


def test_all_conditions_must_hold_and_a_query_without_a_tag_has_none_of_them() -> None:
    tags = pl.Series(["code", "code", None, "law"])
    languages = pl.Series(["de", "en", "fr", "de"])
    both = Rule(tag="code", not_language=["en"], only="a")
    assert both.about(tags=tags, languages=languages).to_list() == [True, False, False, False]
    without = Rule(not_tag="code", never="a")
    assert without.about(tags=tags, languages=None).to_list() == [False, False, True, True]


def test_a_file_is_a_list_of_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- {tag: medical, only: [a, b]}\n- language: [de, fr]\n  never: c\n")
    first, second = read_rules(str(file))
    assert (first.tag, first.only) == (("medical",), ("a", "b"))
    assert (second.language, second.never) == (("de", "fr"), ("c",))
    file.write_text("rules:\n  - {tag: medical, prefer: a}\n")
    assert read_rules(str(file))[0].prefer == ("a",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tag: medical\n", "expected a list of rules"),
        ("[]\n", "expected a list of rules"),
        ("- {tag: medical}\n", "rule 1: name candidates: only, never or prefer"),
        ("- {tag: a, only: b}\n- {only: b}\n", "rule 2: name a condition"),
        ("- {tags: medical, only: b}\n", "rule 1: unknown field 'tags'; did you mean 'tag'"),
        ("- {tag: 3, only: b}\n", "rule 1: field 'tag'"),
        ("- {language: german, only: b}\n", "rule 1: field 'language': expected ISO 639 codes"),
        ("- tag: [\n", "broken YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"rules.yaml") as error:
        read_rules(str(file))
    assert words in str(error.value)


def test_languages_are_told_from_texts_and_from_codes() -> None:
    texts = [
        "Wie viele Äpfel sind noch im Korb?",
        "How many apples are left?",
        "写一个排序列表的函数",
    ]
    assert detect_languages(pl.Series(texts)).to_list() == ["de", "en", "zh"]
    assert detect_languages(pl.Series([], dtype=pl.String)).to_list() == []
    codes = pl.Series(["de-AT", " EN ", "zh_Hans", None, ""])
    assert language_codes(codes).to_list() == ["de", "en", "zh", None, None]
