"""What a language model is asked about a strong/weak pair, and what its answers mean.

- `grade`, as in RouteLLM's code (arXiv 2406.18665): the weak candidate's grade from 1 to 5.
  P(strong wins) is 1 − P(grade of 4 or 5). The grade of a reward w between 0 and 1 is the fifth it
  lies in, 1 + floor(5 w), and 5 for a reward of 1; right or wrong is 5 or 1.
- `outcome`: whether the strong candidate wins, ties or loses, its reward being more than a third
  above the weak one's, more than a third below, or between. P(strong wins) is P(win) + P(tie) / 2.
  On RouteLLM's data, other methods gained .09 of APGR by aiming at the difference and not at the
  weak candidate alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cluster.errors import InputError
from cluster.normalisation import TO_UNIT
from cluster.outcome import OutcomeMatrix
from cluster.routers.pairs import compare

Target = Literal["grade", "outcome"]

# How much the strong candidate's reward must differ for a win or a loss.
APART = 1 / 3


@dataclass(frozen=True)
class Question:
    """What the language model is asked, and what its answers mean.

    Attributes:
        template: the instruction; the query takes the place of `{text}`.
        labels: words to answer with.
        worth: (n_labels,), how far the strong candidate wins by each.
    """

    template: str
    labels: tuple[str, ...]
    worth: tuple[float, ...]


QUESTIONS: Mapping[Target, Question] = {
    "grade": Question(
        "A small language model is asked:\n\n{text}\n\n"
        "How good is its answer going to be, from 1 (wrong) to 5 (right)?\nGrade:",
        ("1", "2", "3", "4", "5"),
        (1.0, 1.0, 1.0, 0.0, 0.0),
    ),
    "outcome": Question(
        "A large and a small language model are asked:\n\n{text}\n\n"
        "Is the large one's answer going to win, tie or lose?\nOutcome:",
        ("win", "tie", "lose"),
        (1.0, 0.5, 0.0),
    ),
}


def grades(pair: OutcomeMatrix) -> npt.NDArray[np.int64]:
    """(n,): the fifth, 0 to 4, that the weak candidate's reward lies in.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    reward = pair.reward[:, 1]
    outside = np.flatnonzero((reward < 0) | (reward > 1))
    if len(outside):
        raise InputError(
            f"query '{pair.queries['query_id'][int(outside[0])]}', candidate "
            f"'{pair.candidates[1]}': reward {reward[outside[0]]:g}, expected 0 to 1; use {TO_UNIT}"
        )
    # Means of ten samples such as 0.6 are a little below what they are written as.
    fifth: npt.NDArray[np.int64] = np.floor(5 * reward + 1e-9).astype(np.int64)
    return np.minimum(fifth, 4)


def outcome_labels(pair: OutcomeMatrix) -> npt.NDArray[np.int64]:
    """(n,): 0 where the strong candidate wins, 1 for a tie, 2 where it loses.

    Raises:
        InputError: two rewards of a query differ by more than 1.
    """
    gain = 2 * compare(pair).target - 1
    return np.where(gain > APART, 0, np.where(gain < -APART, 2, 1)).astype(np.int64)
