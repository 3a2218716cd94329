"""From outcomes to preferences: every two candidates that a query knows the rewards of.

    target = (1 + reward of a − reward of b) / 2

so that right against wrong is a win, and two rights or two wrongs are half a win each. Rows made of
a judge's battles (`cluster.lake.preferences`) hold the outcome and its complement as the pair's
rewards, which gives the outcome back: gold and judged preferences are made and mixed alike.
"""

import numpy as np

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.preference import Comparisons
from cluster.routers.router import Method
from cluster.routers.strong_weak import on_candidates, pair_columns


class ComparisonMethod(Method):
    """A method that learns from comparisons, of all candidates or of a strong and a weak one.

    Attributes:
        strong, weak: names of the pair, where only it is to be routed between. Two candidates are
            a pair where nothing is said, the one with the higher macro mean on train the strong.
    """

    strong: str = ""
    weak: str = ""

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:
        """See `Method.check`.

        Raises:
            InputError: no rows, no such pair, or rewards that no comparisons can be made of.
        """
        super().check(outcomes, validation=validation)
        require_comparable(self.narrowed(outcomes))

    def columns(self, outcomes: OutcomeMatrix) -> list[int]:
        """Columns the router will have, in its order: of a pair the strong candidate first.

        Raises:
            InputError: no such pair.
        """
        if not self.strong and not self.weak and len(outcomes.candidates) != 2:
            return list(range(len(outcomes.candidates)))
        return pair_columns(outcomes, strong=self.strong, weak=self.weak)

    def narrowed(self, outcomes: OutcomeMatrix) -> OutcomeMatrix:
        """The same queries with the candidates the router will have.

        Raises:
            InputError: no such pair.
        """
        return on_candidates(outcomes, self.columns(outcomes))


def compare(outcomes: OutcomeMatrix) -> Comparisons:
    """All pairs of candidates whose rewards are known on the same query, each of weight 1.

    Ordered by row, then by the candidates' columns; `a` is the earlier column.

    Raises:
        InputError: two rewards of a query differ by more than 1, or no query knows two rewards
            though there is more than one candidate.
    """
    first, second = np.triu_indices(len(outcomes.candidates), k=1)
    row, pair = np.nonzero(outcomes.mask[:, first] & outcomes.mask[:, second])
    if not len(row) and len(first):
        raise InputError(
            "no training query has rewards of two candidates, so there is nothing to compare: "
            "collect several candidates on the same queries"
        )
    a, b = first[pair], second[pair]
    difference = outcomes.reward[row, a] - outcomes.reward[row, b]
    _require_unit(outcomes, row=row, a=a, b=b, difference=difference)
    return Comparisons(
        row=row.astype(np.int64),
        a=a.astype(np.int64),
        b=b.astype(np.int64),
        target=(1 + difference) / 2,
        weight=np.ones(len(row)),
        n_rows=len(outcomes),
        n_players=len(outcomes.candidates),
    )


def require_comparable(outcomes: OutcomeMatrix) -> None:
    """Refuse what `compare` would, without making the comparisons of all rows.

    Raises:
        InputError: as `compare`.
    """
    known = outcomes.mask
    highest = np.where(known, outcomes.reward, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, outcomes.reward, np.inf).min(axis=1, initial=np.inf)
    telling = (known.sum(axis=1) > 1, highest - lowest > 1)
    compare(outcomes.take(np.concatenate([np.flatnonzero(rows)[:1] for rows in telling])))


def _require_unit(
    outcomes: OutcomeMatrix,
    *,
    row: np.ndarray[tuple[int], np.dtype[np.int64]],
    a: np.ndarray[tuple[int], np.dtype[np.int64]],
    b: np.ndarray[tuple[int], np.dtype[np.int64]],
    difference: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    far = np.flatnonzero(np.abs(difference) > 1)
    if len(far):
        place = far[0]
        names = [outcomes.candidates[column] for column in (a[place], b[place])]
        raise InputError(
            f"query '{outcomes.queries['query_id'][int(row[place])]}': the rewards of "
            f"'{names[0]}' and '{names[1]}' differ by {abs(difference[place]):g}, and preferences "
            "are made of rewards between 0 and 1; use --normalisation min_max"
        )
