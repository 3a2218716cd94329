"""LLMRouterBench's results (arXiv 2601.07206): one JSON file a (data set, split, model).

`results/bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<date>_<time>.json` holds
`dataset_name`, `split`, `model_name`, `demo` and `records`: `index`, `origin_query`, `prompt`,
`prediction`, `raw_output`, `ground_truth`, `score`, `prompt_tokens`, `completion_tokens`, `cost`
(USD). The release's archive unpacks to `bench-release` in the place of `bench`.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cluster.errors import InputError
from cluster.importers.long_form import long_table
from cluster.importers.score_table import (
    LONE_SURROGATE,
    ScoreTable,
    checked_texts,
    existing,
    is_score,
    leading_split,
    read_text,
    refuse_constant,
    shown,
)

FOLDERS = ("results/bench", "results/bench-release", "bench", "bench-release")
NAMED_BY = {"dataset": "dataset_name", "split": "split", "model": "model_name"}
STAMP = re.compile(r"(\d{8}_\d{6})\.json$")
TEXT = "prompt"
NUMBERS = {
    "score": "value",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "cost": "cost_usd",
}
SCHEMA = {
    "text": pl.String,
    "key": pl.String,
    "reference": pl.String,
    "answer": pl.String,
    **dict.fromkeys(NUMBERS.values(), pl.Float64),
}


@dataclass(frozen=True)
class Result:
    """What one model answered on one split of one data set."""

    file: Path
    dataset: str
    split: str
    model: str
    is_demo: bool
    records: list[dict[str, Any]]

    @property
    def key(self) -> tuple[str, str, str]:
        """Of which several runs may be there."""
        return (self.dataset, self.split, self.model)


@dataclass(frozen=True)
class Run:
    """The rows of a result, and the date, time and name of its file."""

    stamp: tuple[str, str]
    rows: pl.DataFrame


def read(path: str, *, text_column: str | None = None) -> ScoreTable:
    """Read a clone with its results, their folder, any folder in it, or one file.

    The text is `prompt`, which the models were given; `origin_query` is the bare question, often
    without its options. The task is the data set. A split that is none of ours by its first word
    (`hybrid`, `v1`) is test. The answer is `raw_output` where it is text, else `prediction`, what
    was read out of it. Runs marked as a demo are left out, and of several runs of one data set,
    split and model all but the newest by its file's name; the notes tell of both. Where a file does
    not name its data set, split or model, its folders do. One scorer, `accuracy`, weight 1.

    Args:
        path: what to read.
        text_column: the field of the query's text; None takes `prompt`.

    Raises:
        InputError: nothing of this shape there, broken JSON, a record that is none, a record
            without text, a score, count or cost that is no number.
    """
    root = _root(existing(path))
    runs: dict[tuple[str, str, str], Run] = {}
    notes = []
    for file in _files(root):
        result = _result(file, root=root)
        if result.is_demo:
            notes.append(f"{file}: marked as a demo, left out")
            continue
        run = Run(_stamp(file), _rows(result, text=text_column or TEXT))
        other = runs.get(result.key, run)
        runs[result.key] = max(run, other, key=lambda run: run.stamp)
        if other is not run:
            older = min(run.stamp, other.stamp)[1]
            notes.append(f"{older}: there is a newer run of the same, left out")
    if not runs:
        raise InputError(f"{root}: every run is marked as a demo; there is nothing to import")
    return long_table(pl.concat(run.rows for run in runs.values()), notes=notes)


def _root(path: Path) -> Path:
    inner = (path / folder for folder in FOLDERS)
    return next((folder for folder in inner if folder.is_dir()), path)


def _files(root: Path) -> list[Path]:
    files = [root] if root.is_file() else sorted(root.rglob("*.json"))
    if not files:
        raise InputError(
            f"{root}: no *.json here; expected LLMRouterBench's results/bench, a folder of it, or "
            "one file"
        )
    return files


def _stamp(file: Path) -> tuple[str, str]:
    """Date and time in a file's name, where it has them; then the name."""
    match = STAMP.search(file.name)
    return (match[1] if match else "", str(file))


def _content(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(file), parse_constant=refuse_constant)
    except ValueError as error:
        raise InputError(f"{file}: broken JSON ({error}); is the file complete?") from error
    if not isinstance(found, dict) or not isinstance(found.get("records"), list):
        raise InputError(
            f"{file}: expected one of LLMRouterBench's results, an object with a list 'records'; "
            "give the folder of the results as --path"
        )
    return found


def _name(found: dict[str, Any], *, which: str, file: Path, root: Path) -> str:
    """The data set, split or model of a file, by its own field or the folders it lies in."""
    said = found.get(NAMED_BY[which])
    if isinstance(said, str) and said:
        return said
    folders = file.absolute().parent.parts
    place = list(NAMED_BY).index(which) - len(NAMED_BY)
    depth = len(folders) - (len(root.absolute().parts) if root.is_dir() else 0)
    if said is None and depth >= len(NAMED_BY):
        return folders[place]
    raise InputError(
        f"{file}, field '{NAMED_BY[which]}': expected the name of the {which}, found "
        f"{shown(said)}; or keep the file below <dataset>/<split>/<model>"
    )


def _result(file: Path, *, root: Path) -> Result:
    found = _content(file)
    dataset, split, model = (_name(found, which=which, file=file, root=root) for which in NAMED_BY)
    if not found["records"]:
        raise InputError(f"{file}, field 'records': no record; take the file out")
    for row, record in enumerate(found["records"], start=1):
        if not isinstance(record, dict):
            raise InputError(f"{file}, record {row}: expected an object, found {shown(record)}")
    return Result(file, dataset, split, model, bool(found.get("demo")), found["records"])


def _rows(result: Result, *, text: str) -> pl.DataFrame:
    """One row a record."""
    records, where = result.records, str(result.file)
    columns: dict[str, list[Any]] = {
        "text": _texts(result, field=text),
        # Of two odd splits of a data set (test_1000, test_3000) each has queries of its own.
        "key": [f"{result.split} {record.get('index')}" for record in records],
        "reference": [_plain(record.get("ground_truth")) for record in records],
        "answer": [_answer(record) for record in records],
    }
    for name, field in NUMBERS.items():
        columns[field] = [
            _number(record.get(name), where=f"{where}, record {row}, field '{name}'")
            for row, record in enumerate(records, start=1)
        ]
    return pl.DataFrame(columns, schema=SCHEMA).with_columns(
        split=pl.lit(leading_split(result.split)),
        task=pl.lit(result.dataset),
        candidate=pl.lit(result.model),
        scorer=pl.lit("accuracy"),
        weight=pl.lit(1.0),
    )


def _texts(result: Result, *, field: str) -> list[str]:
    said = [record.get(field) for record in result.records]
    for row, text in enumerate(said, start=1):
        if isinstance(text, list | dict):
            raise InputError(
                f"{result.file}, record {row}, field '{field}': expected text, found "
                f"{shown(text)}; name another field with --text-column, such as origin_query"
            )
    return checked_texts(said, where=str(result.file), name=field)


def _answer(record: dict[str, Any]) -> str | None:
    raw = record.get("raw_output")
    return _plain(raw if isinstance(raw, str) and raw else record.get("prediction"))


def _plain(value: object) -> str | None:
    """A value as text that can be written; lists and objects as JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return LONE_SURROGATE.sub("\ufffd", text)


def _number(value: object, *, where: str) -> float | None:
    if value is None:
        return None
    if not is_score(value):
        raise InputError(
            f"{where}: expected a finite number, found {shown(value)}; use null where there is none"
        )
    return float(value)  # type: ignore[arg-type]
