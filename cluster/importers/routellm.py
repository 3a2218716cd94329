"""RouteLLM's evaluation sets: CSV files of prompts and whether each of two models was right.

ICLR 2025, arXiv 2406.18665; `routellm/evals/mmlu/responses/*.csv` (a file a subject) and
`routellm/evals/gsm8k/gsm8k_responses.csv` (with the models' answers) of a clone.
"""

from pathlib import Path

import polars as pl

from cluster.errors import InputError
from cluster.importers.score_table import (
    ScoreTable,
    checked_texts,
    count_left_out,
    existing,
    json_lines,
    read_text,
    refuse_twin_columns,
    shown,
    table_of,
)
from cluster.query import normalise_texts

ANSWER_SUFFIX = "_response"
CONTAMINATED = "contaminated_prompts.jsonl"
CONTAMINATED_FIELD = "eval_prompt"
TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def read(path: str, *, keep_contaminated: bool = False) -> ScoreTable:
    """Read a clone of RouteLLM, its `routellm/evals` folder, a folder below it, or one CSV file.

    Candidates are the columns beside `prompt` and `<candidate>_response`, as many as there are.
    All rows are of split test. The task is the file's name: MMLU's subject (`mmlu_virology.csv`
    → `virology`), `gsm8k`. One scorer, `accuracy`, weight 1; an empty cell is missing. Prompts that
    `contaminated_prompts.jsonl` beside the files names as seen in training are left out and
    counted in `left_out`, unless `keep_contaminated`.

    Raises:
        InputError: nothing of this shape there, or a broken file, row or cell.
    """
    files = _files(existing(path))
    if not files:
        raise InputError(
            f"{path}: no score files here; expected a clone of RouteLLM, its routellm/evals "
            "folder, a folder with *.csv, or one CSV file"
        )
    parts = [_read_file(file, first_row=number << 32) for number, file in enumerate(files)]
    queries = pl.concat([queries for queries, _ in parts])
    cells = pl.concat([cells for _, cells in parts], how="diagonal")
    if keep_contaminated:
        return table_of(queries, cells)
    seen = pl.col("contaminated")
    left_out = count_left_out(queries.filter(seen), reason="contaminated prompt")
    return table_of(queries.filter(~seen), cells, left_out=left_out)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    evals = path / "routellm" / "evals"
    folder = evals if evals.is_dir() else path
    below = sorted(file for file in folder.rglob("*.csv") if _is_score_file(file))
    return below or sorted(folder.glob("*.csv"))


def _is_score_file(file: Path) -> bool:
    return file.parent.name == "responses" or file.stem.endswith("_responses")


def _task(file: Path) -> str:
    return file.stem.removeprefix("mmlu_").removesuffix("_responses")


def _read_file(file: Path, *, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    table = _csv(file)
    texts = checked_texts(table["prompt"].to_list(), where=str(file), name="prompt")
    queries = pl.DataFrame(
        {"row": range(first_row, first_row + len(texts)), "text": texts},
        schema={"row": pl.Int64, "text": pl.String},
    ).with_columns(
        split=pl.lit("test"),
        task=pl.lit(_task(file)),
        contaminated=pl.col("text").is_in(_contaminated(file)),
    )
    parts = [_cells(table, candidate=name, file=file) for name in _candidates(table, file=file)]
    cells = pl.concat([queries.select("row").hstack(part) for part in parts], how="diagonal")
    return queries, cells


def _csv(file: Path) -> pl.DataFrame:
    try:
        table = refuse_twin_columns(
            pl.read_csv(file, infer_schema=False, glob=False), where=str(file)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: cannot be read as CSV ({reason})") from error
    if "prompt" not in table.columns:
        raise InputError(
            f"{file}: no column 'prompt'; found {', '.join(table.columns)}. "
            "Other tables can be imported with --format table"
        )
    return table


def _candidates(table: pl.DataFrame, *, file: Path) -> list[str]:
    answers = {name + ANSWER_SUFFIX for name in table.columns}
    names = [name for name in table.columns if name != "prompt" and name not in answers]
    if not names:
        raise InputError(f"{file}: expected a column of True and False for each candidate")
    return names


def _cells(table: pl.DataFrame, *, candidate: str, file: Path) -> pl.DataFrame:
    """One candidate's scores and answers, a row a query."""
    said = table[candidate].str.strip_chars().str.to_lowercase()
    value = said.replace_strict(TRUTH, default=None, return_dtype=pl.Float64)
    wrong = (said.is_not_null() & (said != "") & value.is_null()).arg_true()
    if len(wrong) > 0:
        raise InputError(
            f"{file}, row {wrong[0] + 1}, field '{candidate}': expected True or False, "
            f"found {shown(table[candidate][wrong[0]])}"
        )
    cells = pl.DataFrame({"value": value}).with_columns(
        candidate=pl.lit(candidate), scorer=pl.lit("accuracy"), weight=pl.lit(1.0)
    )
    if candidate + ANSWER_SUFFIX not in table.columns:
        return cells
    return cells.with_columns(table[candidate + ANSWER_SUFFIX].alias("answer"))


def _contaminated(file: Path) -> list[str]:
    """Normalised prompts that the list beside the file, or above its `responses`, names."""
    beside = file.parent.parent if file.parent.name == "responses" else file.parent
    listed = beside / CONTAMINATED
    if not listed.is_file():
        return []
    entries = json_lines(iter(read_text(listed).split("\n")), where=str(listed))
    prompts = [str(entry.get(CONTAMINATED_FIELD, "")) for entry in entries]
    return normalise_texts(pl.Series(prompts, dtype=pl.String)).to_list()
