"""What the queries of a tag are worth beyond the mean, as a prior."""

from dataclasses import dataclass
from typing import Self

import polars as pl

from cluster.outcome import FloatMatrix
from cluster.routers.means import shrunk_sums
from cluster.state import State


@dataclass(frozen=True)
class TagMeans:
    """What queries of a tag gain beyond the mean; a prior for queries whose tags are known.

    Attributes:
        names: the tags, sorted.
        values: (n_tags,), each tag's mean residual, drawn towards 0.
    """

    names: tuple[str, ...]
    values: FloatMatrix

    @classmethod
    def fit(cls, tags: pl.Series, target: FloatMatrix, *, strength: float) -> Self:
        """`strength`: rows at which a tag's mean counts half."""
        pairs = tag_pairs(tags).drop_nulls()
        names = pairs["tag"].unique().sort()
        group = names.search_sorted(pairs["tag"]).cast(pl.Int64).to_numpy()
        residual = (target - target.mean())[pairs["row"].to_numpy()][:, None]
        means = shrunk_sums(residual, group, n_groups=len(names), strength=strength)
        return cls(tuple(names.to_list()), means[:, 0])

    def score(self, tags: pl.Series) -> FloatMatrix:
        """(n,): the mean over each query's known tags; 0 where none is known."""
        known = dict(zip(self.names, self.values.tolist(), strict=True))
        value = pl.col("tag").replace_strict(known, default=None, return_dtype=pl.Float64)
        rows = tag_pairs(tags).group_by("row", maintain_order=True).agg(value.mean())
        score: FloatMatrix = rows.sort("row")["tag"].fill_null(0.0).to_numpy()
        return score

    def state(self) -> State:
        """Names and values."""
        return State({"names": list(self.names)}, {"values": self.values})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: names and values do not fit each other.
        """
        names = tuple(str(name) for name in state.value("names", list))
        return cls(names, state.tensor("values", shape=(len(names),)))


def tag_pairs(tags: pl.Series) -> pl.DataFrame:
    """One row a tag of a query: `row` and `tag`, null for a query without any."""
    frame = pl.DataFrame({"tag": tags}).with_columns(pl.col("tag").cast(pl.List(pl.String)))
    return frame.with_row_index("row").explode("tag", empty_as_null=True)
