"""Preferences: which of two candidates answered a query better, as flat arrays.

    target = 1 where a is preferred, 0 where b is, 1/2 for a tie; anything between is a degree.

Ties are half wins and are kept. They are most of what there is to see of two good candidates (77 %
of RouteLLM's MMLU rows), and leaving them out targets another quantity: the chance to win given
that the two differ.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.outcome import FloatMatrix

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Comparisons:
    """Pairs of candidates, or of groups of them, held against each other on queries.

    Attributes:
        row: (n,), the query's row, 0 to n_rows - 1.
        a, b: (n,), the two that are compared, 0 to n_players - 1; never the same.
        target: (n,), between 0 and 1: how far a is preferred to b.
        weight: (n,), how much the comparison counts.
        n_rows: queries, those without a comparison included.
        n_players: candidates, or tiers, those never compared included.
    """

    row: Positions
    a: Positions
    b: Positions
    target: FloatMatrix
    weight: FloatMatrix
    n_rows: int
    n_players: int

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.row, self.a, self.b, self.target, self.weight)}
        assert shapes == {(len(self.row),)}, f"arrays of several shapes: {shapes}"
        assert not (self.a == self.b).any(), "a player is compared with itself"
        assert ((self.target >= 0) & (self.target <= 1)).all(), "targets are between 0 and 1"

    def __len__(self) -> int:
        return len(self.row)

    def take(self, kept: npt.NDArray[np.bool_] | Positions) -> "Comparisons":
        """Some of the comparisons, by mask or index; rows and players stay."""
        arrays: dict[str, Any] = {
            name: getattr(self, name)[kept] for name in ("row", "a", "b", "target", "weight")
        }
        return replace(self, **arrays)

    def only_rows(self, rows: Positions) -> "Comparisons":
        """The comparisons of some rows, which are numbered anew; `rows` rise, none twice."""
        kept = self.take(np.isin(self.row, rows))
        return replace(kept, row=np.searchsorted(rows, kept.row), n_rows=len(rows))

    def between(self, group_of: Positions, *, n_groups: int) -> "Comparisons":
        """The same with groups in place of players; comparisons within a group are left out.

        `group_of`: (n_players,), each player's group; a negative one leaves the player out.
        """
        assert len(group_of) == self.n_players, "one group a player"
        a, b = group_of[self.a], group_of[self.b]
        moved = replace(
            self.take((a != b) & (a >= 0) & (b >= 0)),
            n_players=n_groups,
        )
        return replace(moved, a=group_of[moved.a], b=group_of[moved.b])

    def wins(self) -> FloatMatrix:
        """(n_players, n_players): [i, j] is the weight with which i beat j, over all queries."""
        total: FloatMatrix = self.wins_by_row(np.zeros(self.n_rows, dtype=np.int64))[0]
        return total

    def wins_by_row(self, place_of: Positions | None = None) -> FloatMatrix:
        """(n_places, n_players, n_players): `wins` of each row, or of rows put together.

        `place_of`: (n_rows,), where each row is added up; its own place where nothing is said.
        """
        place = self.row if place_of is None else place_of[self.row]
        n_places = self.n_rows if place_of is None else int(place_of.max(initial=-1)) + 1
        size, width = n_places * self.n_players**2, self.n_players
        start = place * width**2
        of_a = np.bincount(
            start + self.a * width + self.b, weights=self.weight * self.target, minlength=size
        )
        of_b = np.bincount(
            start + self.b * width + self.a, weights=self.weight * (1 - self.target), minlength=size
        )
        wins: FloatMatrix = (of_a + of_b).astype(np.float64).reshape(n_places, width, width)
        return wins
