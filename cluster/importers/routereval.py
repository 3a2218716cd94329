"""RouterEval's router data sets (EMNLP 2025), out of the pickles they are published as.

`router_dataset/<benchmark>_router_dataset.pkl` holds a tree: `easy` and `hard`, below them the size
of a pool (3, 5; 10, 100, 1000), below that `all_strong`, `all_weak`, `strong_to_weak`, each with
`model` (names) and `data`: `train_score`, `val_score`, `test_score`, (n_prompts, n_models). Beside
these `prompt`: `train_prompt`, `val_prompt`, `test_prompt`, and split indices and embeddings, which
are not read. The same tree is read here as JSON, and so is one pool by itself: `model`, `data` and
`prompt` of one object. The `leaderboard_*` pickles have no form here: what they hold beyond these
could not be verified.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cluster.errors import InputError
from cluster.importers.pickled import refuse_pickles
from cluster.importers.score_table import (
    ScoreTable,
    checked_texts,
    existing,
    read_text,
    refuse_constant,
    shown,
    table_of,
)

FOLDERS = ("data/router_dataset", "router_dataset")
SUFFIX = "_router_dataset"
SPLITS = {"train": "train", "val": "validation", "test": "test"}
PLACE = ["split", "place"]


@dataclass(frozen=True)
class Pool:
    """Candidates that RouterEval lets a router choose among; `where` names it in messages."""

    where: str
    models: list[str]
    data: dict[str, Any]


def read(path: str) -> ScoreTable:
    """Read a folder with the trees of one or several benchmarks, or one file.

    The task is the benchmark, from the file's name. A model is in several pools with the same
    scores: each (prompt, model) counts once, and notes say where pools disagree, whose first is
    kept. One scorer, `accuracy`, weight 1: the scores as they stand, which for TruthfulQA are
    probabilities (its binary `train_label` is not read).

    Raises:
        InputError: nothing of this shape there, a pickle, broken JSON, a score matrix that does
            not fit its models and prompts, a prompt without text, a score that is no number.
    """
    refuse_pickles(str(_folder(path)), form="routereval")
    files = _files(_folder(path))
    parts = [_part(file, first_row=number << 32) for number, file in enumerate(files)]
    queries = pl.concat([queries for queries, _, _ in parts])
    cells = pl.concat([cells for _, cells, _ in parts])
    return table_of(queries, cells, notes=[note for _, _, notes in parts for note in notes])


def _folder(path: str) -> Path:
    """The path, or the folder of the data sets in a clone."""
    found = existing(path)
    inner = (found / folder for folder in FOLDERS)
    return next((folder for folder in inner if folder.is_dir()), found)


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    if not files:
        raise InputError(
            f"{path}: no *.json here; expected RouterEval's router data sets as JSON, or one file"
        )
    return files


def _part(file: Path, *, first_row: int) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """The queries and cells of a benchmark, and remarks."""
    tree = _tree(file)
    prompts = _prompts(tree, file=file)
    rows, queries = first_row, []
    for split, texts in prompts.items():
        numbered = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("place")
        queries.append(
            numbered.with_columns(
                row=pl.col("place").cast(pl.Int64) + rows, split=pl.lit(SPLITS[split])
            )
        )
        rows += len(texts)
    asked = pl.concat(queries)
    scores = _scores(list(_pools(tree, file=file)), prompts=prompts, file=file)
    cells, notes = _once(scores, file=file)
    placed = cells.join(asked.select("row", *PLACE), on=PLACE, maintain_order="left").drop(PLACE)
    named = asked.drop("place").with_columns(task=pl.lit(file.stem.removesuffix(SUFFIX)))
    return named, placed.with_columns(scorer=pl.lit("accuracy"), weight=pl.lit(1.0)), notes


def _tree(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(read_text(file), parse_constant=refuse_constant)
    except ValueError as error:
        raise InputError(f"{file}: broken JSON ({error}); is the file complete?") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("prompt"), dict):
        raise InputError(
            f"{file}, field 'prompt': expected an object with train_prompt, val_prompt and "
            "test_prompt, beside RouterEval's pools or one pool's model and data"
        )
    return tree


def _prompts(tree: dict[str, Any], *, file: Path) -> dict[str, list[str]]:
    """Split → normalised texts, of the splits that have any.

    Raises:
        InputError: they are no list, one has no text, or there is none.
    """
    found = {}
    for split in SPLITS:
        name = f"{split}_prompt"
        said = tree["prompt"].get(name)
        if said is not None and not isinstance(said, list):
            raise InputError(
                f"{file}, field '{name}': expected a list of texts, found {shown(said)}"
            )
        if said:
            found[split] = checked_texts(said, where=str(file), name=name)
    if not found:
        raise InputError(f"{file}, field 'prompt': no prompt in any of {', '.join(SPLITS)}")
    return found


def _pools(tree: dict[str, Any], *, file: Path) -> Iterator[Pool]:
    """Every pool of the tree, or the only one, where model and data are at its root.

    Raises:
        InputError: there is none, or one has no models or no scores.
    """
    if "model" in tree:
        yield _pool(tree, where=str(file))
        return
    found = [
        (group, f"{file}, {difficulty}/{size}/{name}")
        for difficulty in ("easy", "hard")
        for size, groups in _members(tree.get(difficulty), where=f"{file}, {difficulty}")
        for name, group in _members(groups, where=f"{file}, {difficulty}/{size}")
    ]
    if not found:
        raise InputError(
            f"{file}: neither 'easy' nor 'hard' with pools of models, nor 'model' and 'data' of one"
        )
    for group, where in found:
        yield _pool(group, where=where)


def _members(node: object, *, where: str) -> list[tuple[str, Any]]:
    if node is None:
        return []
    if not isinstance(node, dict):
        raise InputError(f"{where}: expected an object, found {shown(node)}")
    return list(node.items())


def _pool(node: object, *, where: str) -> Pool:
    models = node.get("model") if isinstance(node, dict) else None
    data = node.get("data") if isinstance(node, dict) else None
    if not isinstance(models, list) or not all(isinstance(name, str) and name for name in models):
        raise InputError(f"{where}, field 'model': expected a list of names, found {shown(models)}")
    if len(set(models)) < len(models):
        raise InputError(f"{where}, field 'model': a name stands there twice")
    if not isinstance(data, dict):
        raise InputError(
            f"{where}, field 'data': expected an object with train_score, val_score and "
            f"test_score, found {shown(data)}"
        )
    return Pool(where, models, data)


def _scores(pools: list[Pool], *, prompts: dict[str, list[str]], file: Path) -> pl.DataFrame:
    """`split`, `place`, `candidate`, `value` of every pool, one row a cell of its matrices."""
    frames = [
        _matrix(pool, split=split, n_prompts=len(texts))
        for pool in pools
        for split, texts in prompts.items()
        if pool.data.get(f"{split}_score") is not None
    ]
    if not frames:
        raise InputError(f"{file}: no scores in any pool for the splits that have prompts")
    return pl.concat(frames)


def _matrix(pool: Pool, *, split: str, n_prompts: int) -> pl.DataFrame:
    """One split of a pool.

    Raises:
        InputError: it is no (n_prompts, n_models) matrix of finite numbers.
    """
    where = f"{pool.where}, field '{split}_score'"
    rows, shape = pool.data[f"{split}_score"], (n_prompts, len(pool.models))
    if not isinstance(rows, list) or len(rows) != n_prompts:
        found = f"{len(rows)} rows" if isinstance(rows, list) else shown(rows)
        raise InputError(f"{where}: expected {shape[0]} rows, one a prompt, found {found}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != shape[1]:
            raise InputError(
                f"{where}, row {number}: expected {shape[1]} scores, one a model, found "
                f"{shown(row)}"
            )
        if not all(isinstance(score, int | float) for score in row):
            raise InputError(f"{where}, row {number}: expected numbers, found {shown(row)}")
    scores = np.array(rows, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"{where}: expected finite numbers")
    places, columns = (index.ravel() for index in np.indices(shape))
    return pl.DataFrame(
        {
            "place": pl.Series(places, dtype=pl.UInt32),
            "candidate": pl.Series(pool.models, dtype=pl.String).gather(columns),
            "value": scores.ravel(),
        }
    ).with_columns(split=pl.lit(SPLITS[split]))


def _once(scores: pl.DataFrame, *, file: Path) -> tuple[pl.DataFrame, list[str]]:
    """Each (prompt, model) once, the first, and a remark where pools disagree about it."""
    key = [*PLACE, "candidate"]
    cells = scores.unique(key, keep="first", maintain_order=True)
    others = scores.unique([*key, "value"]).height - cells.height
    if not others:
        return cells, []
    note = f"{file}: {others} scores differ from those of the same model in another pool, left out"
    return cells, [note]
