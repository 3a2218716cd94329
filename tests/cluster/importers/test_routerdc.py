import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.routerdc import read
from cluster.importers.score_table import ScoreTable

CLONE = Path(__file__).resolve().parents[4] / "shared" / "data" / "RouterDC"
# Table 1 of arXiv 2409.19886, per cent: MMLU, GSM8K, CMMLU, ARC-C, HumanEval, average.
TASKS = ("mmlu", "gsm8k", "cmmlu", "arc_challenge", "humaneval")
PUBLISHED = {
    "mistralai/Mistral-7B-v0.1": (62.14, 36.71, 43.83, 49.43, 28.98, 44.22),
    "meta-math/MetaMath-Mistral-7B": (59.86, 69.63, 43.83, 48.30, 29.80, 50.28),
    "HuggingFaceH4/zephyr-7b-beta": (59.81, 33.00, 42.82, 57.95, 22.04, 43.13),
    "itpossible/Chinese-Mistral-7B-v0.1": (57.42, 41.03, 49.67, 43.47, 21.43, 42.60),
    "cognitivecomputations/dolphin-2.6-mistral-7b": (60.53, 52.38, 43.71, 52.56, 45.10, 50.86),
    "meta-llama/Meta-Llama-3-8B": (64.59, 47.76, 51.77, 49.43, 26.73, 48.06),
    "cognitivecomputations/dolphin-2.9-llama3-8b": (59.46, 69.81, 44.72, 49.43, 49.39, 54.56),
}


def entry(question: str, *, cluster: int | None = None, **scores: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"question": question, "scores": scores}
    return row if cluster is None else {**row, "cluster_id": cluster}


def write(path: Path, *entries: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def values(table: ScoreTable, *, scorer: str) -> list[tuple[str, str, float, float]]:
    picked = table.rows.filter(pl.col("scorer") == scorer)
    return picked.select("text", "candidate", "value", "weight").rows()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone's shape: test and train in one folder, train with clusters in the other."""
    base = tmp_path / "datasets"
    write(base / "set" / "mmlu_train.json", entry("m1", a=0.9, b=0))
    write(base / "set" / "mmlu_test.json", entry("m1", a=0.4, b=0), entry("m1", a=0, b=0.6))
    write(base / "set" / "gsm8k-train.json", entry("g1", a=0.3, b=1.0))
    write(base / "set" / "gsm8k-test.json", entry("g2", a=0.5, b=0.0))
    write(base / "set_cluster" / "mmlu_train.json", entry("m1", a=0.9, b=0, cluster=4))
    write(base / "set_cluster" / "gsm8k-train.json", entry("g1", a=0.3, b=1.0, cluster=2))
    return tmp_path


@pytest.mark.parametrize("start", [".", "datasets"])
def test_root_and_datasets_folder_read_every_file_once(clone: Path, start: str) -> None:
    table = read(str(clone / start))
    queries = table.queries.select("split", "task", "text", "occurrence").rows()
    assert sorted(queries) == [
        ("test", "gsm8k", "g2", 0),
        ("test", "mmlu", "m1", 0),
        ("test", "mmlu", "m1", 1),
        ("train", "gsm8k", "g1", 0),
        ("train", "mmlu", "m1", 0),
    ]
    assert sorted(table.tags.select("split", "text", "tag", "tagger").rows()) == [
        ("train", "g1", "2", "routerdc-cluster"),
        ("train", "m1", "4", "routerdc-cluster"),
    ]


def test_one_folder_and_one_file_are_subsets(clone: Path) -> None:
    folder = read(str(clone / "datasets" / "set"))
    assert folder.queries.height == 5
    assert folder.tags.is_empty()
    file = read(str(clone / "datasets" / "set" / "gsm8k-test.json"))
    assert values(file, scorer="accuracy") == [("g2", "a", 0.5, 10.0), ("g2", "b", 0.0, 10.0)]


def test_multiple_choice_is_right_when_the_score_is_positive(tmp_path: Path) -> None:
    file = write(tmp_path / "arc_challenge_test.json", entry("q", a=0.2, b=0, c=1.0))
    table = read(str(file))
    assert [value for _, _, value, _ in values(table, scorer="accuracy")] == [1.0, 0.0, 1.0]
    assert [value for _, _, value, _ in values(table, scorer="probability")] == [0.2, 0.0, 1.0]
    assert set(table.rows["weight"]) == {1.0}


def test_unknown_task_is_decided_by_all_its_files_together(tmp_path: Path) -> None:
    write(tmp_path / "riddles_train.json", entry("r1", a=0.31, b=0))
    write(tmp_path / "riddles-test.json", entry("r2", a=0.3, b=0))
    write(tmp_path / "code.json", entry("c1", a=0.3, b=0))
    write(tmp_path / "choice.json", entry("h1", a=1, b=0))
    rows = read(str(tmp_path)).rows.filter(pl.col("scorer") == "accuracy", pl.col("value") > 0)
    found = {row[0]: row[1:] for row in rows.select("text", "split", "value", "weight").rows()}
    assert found == {
        "r1": ("train", 1.0, 1.0),
        "r2": ("test", 1.0, 1.0),
        "c1": ("test", 0.3, 10.0),
        "h1": ("test", 1.0, 1.0),
    }


def test_number_of_samples_can_be_said(tmp_path: Path) -> None:
    file = write(tmp_path / "code.json", entry("c", a=0.25, b=0.5))
    assert values(read(str(file), samples=4), scorer="accuracy")[0] == ("c", "a", 0.25, 4.0)
    assert values(read(str(file)), scorer="accuracy")[0] == ("c", "a", 1.0, 1.0)


def test_candidates_may_differ_and_null_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "mmlu_train.json", entry("x", a=1, b=0))
    write(tmp_path / "mmlu_test.json", entry("y", c=1, a=None), entry("z", a=None))
    table = read(str(tmp_path))
    cells = table.rows.filter(pl.col("scorer") == "accuracy").select("text", "candidate").rows()
    assert sorted(cells) == [("x", "a"), ("x", "b"), ("y", "c")]
    assert table.left_out.rows() == [("test", "mmlu", "no candidate has a score", 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"scores": {"a": 1}}], "row 1, field 'question'"),
        ([entry("x", a=1), {"question": "y"}], "row 2, field 'scores'"),
        ([entry("x")], "row 1, field 'scores'"),
        ([entry("x", a=1), entry("y", a=1, b="0.5")], "row 2, field 'scores', candidate 'b'"),
        ([entry("x", a=float("nan"))], "row 1, field 'scores', candidate 'a'"),
        ([entry("x", a=float("inf"))], "row 1, field 'scores', candidate 'a'"),
        ([entry("x", a=10**400)], "row 1, field 'scores', candidate 'a'"),
        (["x"], "row 1: expected a JSON object"),
        ([], "expected a JSON list"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    file = write(tmp_path / "mmlu_test.json", *rows)
    with pytest.raises(InputError, match=message) as caught:
        read(str(tmp_path))
    assert str(file) in str(caught.value)


def test_broken_json_and_bytes_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mmlu_test.json"
    file.write_text('[{"question": "x", ', encoding="utf-8")
    with pytest.raises(InputError, match=r"mmlu_test\.json: broken JSON .*line 1"):
        read(str(file))
    file.write_bytes(b'[{"question": "\xff"}]')
    with pytest.raises(InputError, match=r"mmlu_test\.json: byte 15 is not UTF-8"):
        read(str(file))


def test_nothing_there_and_nothing_of_this_shape(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"no \*\.json here"):
        read(str(tmp_path))
    write(tmp_path / "train.json", entry("x", a=1))
    with pytest.raises(InputError, match="its name says no task"):
        read(str(tmp_path))


def test_two_sets_with_the_same_files_are_refused(clone: Path) -> None:
    write(clone / "datasets" / "other" / "mmlu-test.json", entry("m1", z=1))
    with pytest.raises(InputError, match="both hold task 'mmlu', split 'test'"):
        read(str(clone))


@pytest.fixture(scope="module")
def published() -> ScoreTable:
    if not CLONE.is_dir():
        pytest.skip("the RouterDC data is not beside the repository (../shared/data)")
    return read(str(CLONE))


@pytest.fixture(scope="module")
def accuracy(published: ScoreTable) -> pl.DataFrame:
    """Per cent right, by split, task and candidate."""
    rows = published.rows.filter(pl.col("scorer") == "accuracy")
    return rows.group_by("split", "task", "candidate").agg(pl.col("value").mean() * 100)


def test_published_rows_come_out(accuracy: pl.DataFrame) -> None:
    table = accuracy.filter(pl.col("split") == "test").pivot(
        "task", index="candidate", values="value"
    )
    assert set(table["candidate"]) == set(PUBLISHED)
    for row in table.iter_rows(named=True):
        tasks = [row[task] for task in TASKS]
        assert [*tasks, sum(tasks) / 5] == pytest.approx(PUBLISHED[row["candidate"]], abs=0.01)


def test_best_single_task_lookup_and_oracle_come_out(
    published: ScoreTable, accuracy: pl.DataFrame
) -> None:
    train = accuracy.filter(pl.col("split") == "train")
    test = accuracy.filter(pl.col("split") == "test")
    macro = train.group_by("candidate").agg(pl.col("value").mean()).sort("value")
    single = test.filter(pl.col("candidate") == macro["candidate"][-1])["value"].mean()
    chosen = train.sort("value").group_by("task").agg(pl.col("candidate").last())
    lookup = test.join(chosen, on=["task", "candidate"])["value"].mean()
    rows = published.rows.filter(pl.col("scorer") == "accuracy", pl.col("split") == "test")
    best = rows.group_by("task", "text", "occurrence").agg(pl.col("value").max())
    oracle = best.group_by("task").agg(pl.col("value").mean() * 100)["value"].mean()
    assert (single, lookup, oracle) == pytest.approx((54.56, 58.67, 77.52), abs=0.01)


def test_published_duplicates_and_overlaps_are_kept(published: ScoreTable) -> None:
    queries = published.queries
    assert dict(queries.group_by("split").len().iter_rows()) == {"train": 5935, "test": 9408}
    test = queries.filter(pl.col("split") == "test")
    assert test.filter(pl.col("occurrence") > 0).height == 8
    train = queries.filter(pl.col("split") == "train").select("task", "text").unique()
    shared = test.join(train, on=["task", "text"], how="semi").group_by("task").len()
    assert dict(shared.iter_rows()) == {"mmlu": 16, "arc_challenge": 2, "cmmlu": 1}
    assert published.tags.height == 5935
