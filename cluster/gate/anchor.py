"""The champion that promotions for less money may not fall behind by more than the margin."""

from collections.abc import Callable, Sequence

from cluster.gate.decision import ANCHOR, Decision


def anchor(champions: Sequence[str], *, decided: Callable[[str], Decision | None]) -> str | None:
    """The last champion that was better than all it was held against; None if that is the current.

    One that was only cheaper is none. Nor is one that was better than a cheaper one, but not surely
    better than the anchor: else a margin could be lost before each small gain, again and again.

    Args:
        champions: versions on top of each other, the current one last.
        decided: by which decision a version last passed the gate; None where it never did.
    """
    below = list(champions)
    while below and _leans(decided(below[-1])):
        below.pop()
    return below[-1] if below and below[-1] != champions[-1] else None


def _leans(decision: Decision | None) -> bool:
    """Whether what a champion is worth is told only beside one below it."""
    if decision is None:
        return False
    behind = any(one.against == ANCHOR and one.low <= 0 for one in decision.comparisons)
    return decision.how == "cheaper" or (decision.how == "better" and behind)
