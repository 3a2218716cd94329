"""Mathematical answers that are equal, however they are written."""

from typing import ClassVar

from cluster.rewards.bounded.scorer import BoundedScorer


class Math(BoundedScorer):
    """1 where the answer's last expression equals the reference's, else 0.

    Expressions are found, parsed and compared by math-verify: numbers, fractions, sets, intervals,
    equations, matrices, in LaTeX or plain. Each answer has bounds in time and memory, for a
    computer algebra system can be kept busy for ever; one that breaks them is worth 0, with the
    bound as the reason. Null where the reference holds no expression.
    """

    name: ClassVar[str] = "math"
    judge: ClassVar[str] = "cluster.rewards.math_judge:judge"
    probe: ClassVar[str] = "$1$"
