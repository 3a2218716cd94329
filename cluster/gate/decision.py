"""Whether a version becomes champion: what it was held against, the intervals, the words.

It must beat all that could run instead: best single, the cost-matched mix and the champion. That
all of these tests must pass at tonight's level makes the chance of a wrong yes no greater than the
level, whatever their number (an intersection-union test; Berger 1982), so none of them is
corrected for the others.

In the champion's place it is enough to be not worse than it by more than a margin and cheaper (so
far as no answer costs more than those of the snapshot: costs have no range known before). Such
promotions could lead downhill, one margin a night, so one that follows them is held against the
last champion that was better than all it was held against (the anchor, `cluster.gate.anchor`) with
the same margin.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

How = Literal["first", "better", "cheaper", "by hand", ""]

BEST_SINGLE = "best single"
COST_MATCHED_MIX = "cost-matched mix"
CHAMPION = "champion"
ANCHOR = "anchor"
COST = "cost against the champion"


@dataclass(frozen=True)
class Comparison:
    """A difference on the snapshot, with its bounds at the level of the look.

    Attributes:
        against: what the version is held against.
        gain: macro mean reward of the version less the other's; of `cost`, USD a query.
        low, high: one-sided bounds, each at the level.
        n: queries behind it.
    """

    against: str
    gain: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, and why, in words.

    Attributes:
        promote: whether it does.
        why: the reason.
        how: in which way it earned it; empty where it did not.
        comparisons: what it was held against; empty for a decision by hand.
        snapshot: name of the test snapshot.
        look: number of the look at the snapshot, from 1; 0 for none.
        level: one-sided error rate of the look's bounds.
    """

    promote: bool
    why: str
    how: How = ""
    comparisons: tuple[Comparison, ...] = ()
    snapshot: str = ""
    look: int = 0
    level: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """JSON values of all of it; `promote` is called `promoted`."""
        return {
            "promoted": self.promote,
            "why": self.why,
            "how": self.how,
            "comparisons": self.table(),
            "snapshot": self.snapshot,
            "look": self.look,
            "level": self.level,
        }

    def table(self) -> list[dict[str, Any]]:
        """One row a comparison: `against`, `gain`, `low`, `high`, `n`."""
        return [asdict(one) for one in self.comparisons]


def decide(
    comparisons: Sequence[Comparison], *, margin: float, champion: str | None
) -> tuple[How, str]:
    """How a version earned to be champion, empty where it did not, and why.

    Args:
        comparisons: at tonight's level; with the champion where there is one.
        margin: how much worse than the champion a cheaper version may be, in reward.
        champion: version of the one there is.
    """
    found = {one.against: one for one in comparisons}
    for name in (BEST_SINGLE, COST_MATCHED_MIX):
        if name in found and found[name].low <= 0:
            return "", f"{_words(found[name])}, which is not above 0"
    if champion is None:
        return "first", f"{_words(found[BEST_SINGLE])} is above 0; there was no champion"
    return _against_champion(found, margin=margin)


def _against_champion(found: dict[str, Comparison], *, margin: float) -> tuple[How, str]:
    words = _words(found[CHAMPION])
    if found[CHAMPION].low > 0:
        return "better", f"{words} is above 0"
    if found[CHAMPION].low <= -margin:
        return "", f"{words}: neither above 0 nor within {margin:g} of the champion"
    if COST not in found or found[COST].high >= 0:
        return "", f"{words}: within {margin:g}, but not above 0 and not surely cheaper"
    if ANCHOR in found and found[ANCHOR].low <= -margin:
        return "", (
            f"{words}: within {margin:g} and cheaper, but {_words(found[ANCHOR])}: promotions for "
            "less money together would cost more than the margin"
        )
    return "cheaper", f"{words}: within {margin:g}, and {_cost_words(found[COST])}"


def _words(one: Comparison) -> str:
    name = {ANCHOR: "the last better champion"}.get(one.against, f"the {one.against}")
    name = one.against if one.against == BEST_SINGLE else name
    return f"gain over {name} {one.gain:+.4f}, interval [{one.low:+.4f}, {one.high:+.4f}]"


def _cost_words(one: Comparison) -> str:
    return (
        f"USD {-1000 * one.gain:.4g} cheaper a 1,000 queries, at least {-1000 * one.high:.4g} "
        "if no answer costs more than the snapshot's do"
    )
