"""RouterArena's prediction file (arXiv 2510.00202): which model a router picks for each query.

A JSON list, a query an entry: `global index`, `prompt`, `prediction` (the model), and
`generated_result`, `cost`, `accuracy`, which RouterArena fills in, null; `for_optimality` is false.
The queries are those of its own `dataset/router_data.json` or `router_data_10.json` (`global
index`, `prompt_formatted`), whose prompts the file must repeat to the letter.
"""

import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import polars as pl

from cluster import registry
from cluster.errors import InputError
from cluster.exporters.exporter import Export, Exporter, ExportRequest
from cluster.importers.score_table import shown
from cluster.importers.table_files import find_tables, load_fields
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.policies import load_policy
from cluster.query import normalise_texts
from cluster.routers.checkpoint import load_checkpoint
from cluster.routing.score import expected_cost

INDEX = ("global index", "global_index", "Global Index")
PROMPT = ("prompt_formatted", "prompt")


class RouterArena(Exporter):
    """A registered router's choices as RouterArena's prediction file."""

    is_folder: ClassVar[bool] = False

    def check(self, request: ExportRequest, *, lake: Lake) -> None:
        """Make sure that the queries are named and there, and the router registered."""
        if not request.queries:
            raise InputError(
                "--queries: name RouterArena's query file, dataset/router_data.json of its clone; "
                "its prompts and global indices are not in the lake"
            )
        _one_file(request.queries)
        registry.resolve(lake, version=request.router)
        load_policy(request.policy, settings=request.policy_settings)

    def export(self, request: ExportRequest, *, lake: Lake) -> Export:
        """Route every query of the file, in its order."""
        queries = _queries(_one_file(request.queries))
        router = registry.resolve(lake, version=request.router)
        chosen = _choose(queries["prompt"], router=router, request=request, lake=lake)
        entries = [
            {
                "global index": index,
                "prompt": prompt,
                "prediction": candidate,
                "generated_result": None,
                "cost": None,
                "accuracy": None,
                "for_optimality": False,
            }
            for (index, prompt), candidate in zip(queries.iter_rows(), chosen, strict=True)
        ]
        content = json.dumps(entries, ensure_ascii=False, indent=2) + "\n"
        shares = {name: count / len(entries) for name, count in sorted(Counter(chosen).items())}
        return Export(
            files={"": content.encode()},
            rows={"": len(entries)},
            told={"router": router["version"], "policy": request.policy, "shares": shares},
        )


def _one_file(path: str) -> Path:
    files = find_tables(path, json_lists=True)
    if len(files) > 1:
        raise InputError(f"--queries {path}: {len(files)} files, expected one; name it")
    return files[0]


def _queries(file: Path) -> pl.DataFrame:
    """(n_queries, 2) `index` and `prompt` as they stand in the file.

    Raises:
        InputError: a column is missing, an entry has no index or prompt, or an index stands twice.
    """
    frame = load_fields(file, names=(*INDEX, *PROMPT), lists=())
    columns = {"index": _column(frame, among=INDEX, file=file)}
    columns["prompt"] = _column(frame, among=PROMPT, file=file)
    queries = frame.select(
        pl.col(name).cast(pl.String).alias(field) for field, name in columns.items()
    )
    for field, name in columns.items():
        empty = (queries[field].str.strip_chars().fill_null("") == "").arg_true()
        if len(empty):
            raise InputError(
                f"{file}, row {empty[0] + 1}, field '{name}': expected text, found "
                f"{shown(queries[field][empty[0]])}; fill it in or take the row out"
            )
    twice = queries["index"].is_duplicated().arg_true()
    if len(twice):
        raise InputError(
            f"{file}, row {twice[1] + 1}, field '{columns['index']}': "
            f"{shown(queries['index'][twice[1]])} stands there twice; every query has its own"
        )
    return queries


def _column(frame: pl.DataFrame, *, among: tuple[str, ...], file: Path) -> str:
    found = next((name for name in among if name in frame.columns), None)
    if found is None:
        wanted = " or ".join(f"'{name}'" for name in among)
        raise InputError(f"{file}: no field {wanted}; expected RouterArena's query file")
    return found


def _choose(
    prompts: pl.Series, *, router: dict[str, str], request: ExportRequest, lake: Lake
) -> list[str]:
    """(n_queries,) names of the candidates that are chosen.

    Raises:
        InputError: the router reads answers, the policy has not what it needs, or the checkpoint
            is damaged.
    """
    checkpoint = load_checkpoint(router["checkpoint"], version=router["version"])
    if checkpoint.router.reads_answer_of:
        raise InputError(
            f"router {router['version'][:12]} decides when '{checkpoint.router.reads_answer_of}' "
            "has answered, and a query file holds no answers: name another --router"
        )
    policy = load_policy(request.policy, settings=request.policy_settings)
    texts = normalise_texts(prompts)
    prediction = checkpoint.router.predict(texts)
    cost = None
    if policy.needs_cost:
        prices = read_prices(request.prices, lake=lake)
        cost = expected_cost(texts, prediction=prediction, checkpoint=checkpoint, prices=prices)
    columns = policy.choose(prediction, texts=texts, cost=cost)
    return [checkpoint.router.candidates[column] for column in columns]
