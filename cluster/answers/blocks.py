"""Matrices (n_rows, n_candidates) as columns of a frame, `name:0`, `name:1`, …"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl


def as_columns(blocks: Mapping[str, npt.NDArray[Any]]) -> dict[str, pl.Series]:
    """Columns of matrices, by the name of each and its column's number."""
    return {
        f"{name}:{column}": pl.Series(np.ascontiguousarray(block[:, column]))
        for name, block in blocks.items()
        for column in range(block.shape[1])
    }


def block(frame: pl.DataFrame, name: str) -> npt.NDArray[Any] | None:
    """The matrix of a name, or None where the frame has none."""
    columns: list[npt.NDArray[Any]] = []
    while f"{name}:{len(columns)}" in frame.columns:
        columns.append(frame[f"{name}:{len(columns)}"].to_numpy())
    return np.column_stack(columns) if columns else None


def required_block(frame: pl.DataFrame, name: str) -> npt.NDArray[Any]:
    """The matrix of a name, which is there."""
    found = block(frame, name)
    assert found is not None, f"the frame was written without '{name}'"
    return found
