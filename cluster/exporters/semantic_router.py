"""vLLM semantic-router's benchmark records, on which its model selectors are trained.

One JSON Lines file, a line a (query, candidate): `query`, `category`, `model_name`, `performance`
(0 to 1), `response_time` (seconds), `response`, `ground_truth`, as
`src/training/model_selection/ml_model_selection` of vllm-project/semantic-router loads it
(`train.py --data-file`).
"""

from typing import ClassVar

import polars as pl

from cluster.errors import InputError
from cluster.exporters.cells import json_lines_of_known, read_cells
from cluster.exporters.exporter import Export, Exporter, ExportRequest
from cluster.lake.lake import Lake
from cluster.lake.outcomes import check_outcomes

# What the loader knows; it reads any other word as `other`.
CATEGORIES = (
    *("math", "physics", "chemistry", "biology", "computer science", "history", "economics"),
    *("business", "law", "health", "psychology", "philosophy", "other", "unknown"),
)
OTHER = "other"
# Its trainer divides the queries itself, so test stays out, and calibration is never trained on.
TRAINED_ON = ("train", "validation")


class SemanticRouter(Exporter):
    """Outcomes as semantic-router's benchmark records."""

    is_folder: ClassVar[bool] = False

    def check(self, request: ExportRequest, *, lake: Lake) -> None:
        """Make sure that a dataset is named and there."""
        if not request.dataset:
            raise InputError("--dataset: name the dataset whose outcomes are to be exported")
        check_outcomes(lake, dataset=request.dataset, scorer=request.scorer)

    def export(self, request: ExportRequest, *, lake: Lake) -> Export:
        """The records of train and validation, or of the splits that are named.

        A task that is none of the loader's categories (`_` for a blank, any case) is `other`; it
        stands beside it as `task_name`. A response time nobody knows is left out, which the loader
        reads as 0; a null it would not read at all.
        """
        cells = read_cells(
            lake,
            dataset=request.dataset,
            scorer=request.scorer,
            splits=request.splits or TRAINED_ON,
        )
        records = cells.select(
            query="text",
            category=_category(),
            model_name="candidate",
            performance="reward",
            response_time="seconds",
            response="answer",
            ground_truth="reference",
            task_name="task",
        )
        others = cells.filter(_category() == OTHER)["task"].unique().sort().to_list()
        return Export(
            files={"": json_lines_of_known(records)},
            rows={"": records.height},
            told={"tasks_as_other": [task for task in others if task != OTHER]},
        )


def _category() -> pl.Expr:
    word = pl.col("task").str.to_lowercase().str.replace_all("_", " ", literal=True)
    return pl.when(word.is_in(CATEGORIES)).then(word).otherwise(pl.lit(OTHER))
