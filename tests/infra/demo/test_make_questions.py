"""The demo's questions and models: reproducible, right, disjoint, small enough to ship."""

import gzip
import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.candidate import load_candidates

DEMO = Path(__file__).parents[3] / "infra" / "demo"
NUMERAL_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
SPECIALISTS = ("abacus", "caesar", "scribe")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_make_questions", DEMO / "make_questions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


make_questions = _load()


def _rows(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def collect() -> list[dict[str, str]]:
    return _rows((DEMO / "questions" / "collect.jsonl").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def route() -> list[dict[str, str]]:
    packed = (DEMO / "questions" / "route.jsonl.gz").read_bytes()
    return _rows(gzip.decompress(packed).decode("utf-8"))


def _numeral_value(numeral: str) -> int:
    values = [NUMERAL_VALUES[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-v if v < after else v for v, after in zip(values, following, strict=True))


def test_the_generator_reproduces_the_shipped_files(tmp_path: Path) -> None:
    make_questions.main(["--folder", str(tmp_path)])

    shipped = DEMO / "questions"
    written = (tmp_path / "collect.jsonl").read_bytes()
    assert written == (shipped / "collect.jsonl").read_bytes()
    packed = (tmp_path / "route.jsonl.gz").read_bytes()
    shipped_packed = (shipped / "route.jsonl.gz").read_bytes()
    # Deflate streams may differ between builds of zlib; the header and the content may not.
    assert packed[4:8] == shipped_packed[4:8] == bytes(4)
    assert gzip.decompress(packed) == gzip.decompress(shipped_packed)


def test_shipped_texts_are_distinct_and_disjoint(
    collect: list[dict[str, str]], route: list[dict[str, str]]
) -> None:
    assert len(collect) == 2_000
    assert len(route) == 10_000
    assert len({row["text"] for row in collect + route}) == 12_000
    assert len({row["id"] for row in route}) == 10_000


def test_every_task_is_well_represented(collect: list[dict[str, str]]) -> None:
    counts = Counter(row["task"] for row in collect)

    assert set(counts) == {"arithmetic", "roman", "words", "units"}
    assert min(counts.values()) > 350


def test_rows_are_plain_printable_lines(
    collect: list[dict[str, str]], route: list[dict[str, str]]
) -> None:
    for row in collect + route:
        assert row["text"] == row["text"].strip()
        assert re.fullmatch(r"[ -~]+", row["text"])
        assert re.fullmatch(r"[A-Za-z0-9 -]{1,16}", row["reference"])


def test_digit_sums_and_products_are_right(collect: list[dict[str, str]]) -> None:
    signs = {"plus": 1, "minus": -1}
    checked = 0
    for row in collect:
        if found := re.search(r"What is (\d+) (plus|minus) (\d+)\?", row["text"]):
            assert int(row["reference"]) == int(found[1]) + signs[found[2]] * int(found[3])
            checked += 1
        elif found := re.search(r"(\d+) times (\d+)\?", row["text"]):
            assert int(row["reference"]) == int(found[1]) * int(found[2])
            checked += 1
    assert checked > 50


def test_differences_name_the_larger_number_first(collect: list[dict[str, str]]) -> None:
    taken = [
        (int(found[2]), int(found[1]), int(row["reference"]))
        for row in collect
        if (found := re.search(r"Take (\d+) away from (\d+)\.", row["text"]))
    ]

    assert taken
    assert all(whole - part == left >= 0 for whole, part, left in taken)


def test_numerals_are_read_and_written_right(collect: list[dict[str, str]]) -> None:
    checked = 0
    for row in collect:
        if found := re.search(r"Which Roman numeral is (\d+)\?", row["text"]):
            assert _numeral_value(row["reference"]) == int(found[1])
            checked += 1
        elif found := re.search(r"([IVXLC]+) (?:in|to) digits", row["text"]):
            assert int(row["reference"]) == _numeral_value(found[1])
            checked += 1
    assert checked > 50


def test_word_play_is_right(collect: list[dict[str, str]]) -> None:
    checked = 0
    for row in collect:
        text, reference = row["text"], row["reference"]
        if found := re.search(r"Spell (\w+) backwards", text):
            assert "".join(reversed(found[1])) == reference
            checked += 1
        elif found := re.search(r"first letter of (\w+)", text):
            assert found[1].startswith(reference)
            checked += 1
        elif found := re.search(r"Join (\w+) and (\w+)\.", text):
            assert reference == found[1] + found[2]
            checked += 1
        elif found := re.search(r"letters (?:are )?in ([a-z]+)[?.]", text):
            assert int(reference) == len(found[1])
            checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("whole", "part", "factor"),
    [("days", "hours", 24), ("kilometres", "metres", 1000), ("feet", "inches", 12)],
)
def test_conversions_are_right(
    whole: str, part: str, factor: int, collect: list[dict[str, str]], route: list[dict[str, str]]
) -> None:
    asked = re.compile(rf"Convert (\d+) {whole} to {part}\.")
    found = [
        (m[1], row["reference"]) for row in collect + route if (m := asked.search(row["text"]))
    ]

    assert found
    assert all(int(reference) == int(number) * factor for number, reference in found)


def test_the_same_wording_is_used_by_several_tasks(collect: list[dict[str, str]]) -> None:
    tasks = {row["task"] for row in collect if "What is the sum of" in row["text"]}
    letters = {row["task"] for row in collect if "How many letters are" in row["text"]}

    assert tasks == {"arithmetic", "roman", "units"}
    assert letters == {"roman", "words"}


@given(st.integers(1, 399))
def test_a_numeral_stands_for_its_number(number: int) -> None:
    numeral = make_questions.roman(number)

    assert _numeral_value(numeral) == number
    assert not re.search(r"I{4}|X{4}|C{4}|V{2}|L{2}", numeral)


def test_numbers_below_a_hundred_have_distinct_names() -> None:
    names = [make_questions.in_words(number) for number in range(100)]

    assert len(set(names)) == 100
    assert [names[n] for n in (0, 13, 20, 42, 99)] == [
        "zero",
        "thirteen",
        "twenty",
        "forty-two",
        "ninety-nine",
    ]


def test_printed_questions_follow_their_seed(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for seed in ("1", "1", "2"):
        make_questions.main(["--print", "50", "--seed", seed])
        printed.append(_rows(capsys.readouterr().out))

    assert printed[0] == printed[1] != printed[2]
    assert len({row["text"] for row in printed[0]}) == 50


def test_shipped_models_are_small_and_hold_no_code() -> None:
    files = [path for path in (DEMO / "models").rglob("*") if path.is_file()]

    assert {path.parent.name for path in files} == {*SPECIALISTS, "polymath"}
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}
    assert sum(path.stat().st_size for path in files) <= 4 * 2**20


def test_candidates_are_the_shipped_models_and_the_generalist_costs_most() -> None:
    candidates = {one.name: one for one in load_candidates(DEMO / "candidates.yaml")}

    assert list(candidates) == [*SPECIALISTS, "polymath"]
    for name, candidate in candidates.items():
        assert Path(candidate.model) == (DEMO / "models" / name).resolve()
        assert candidate.price is not None
    dear, cheap = candidates["polymath"].price, [candidates[name].price for name in SPECIALISTS]
    assert all(dear.output >= 4 * price.output for price in cheap)
    assert all(dear.input >= 4 * price.input for price in cheap)
