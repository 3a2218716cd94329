import pytest

from cluster.gate.anchor import anchor
from cluster.gate.decision import ANCHOR, Comparison, Decision


def passed(how, *, over_anchor=None) -> Decision:
    low = () if over_anchor is None else (Comparison(ANCHOR, 0.0, over_anchor, 0.1, 100),)
    return Decision(promote=True, why="", how=how, comparisons=low)


FIRST, BETTER, CHEAPER = passed("first"), passed("better"), passed("cheaper")
# Better than a cheaper champion: behind the anchor for all that is known, or surely above it.
BEHIND, ABOVE = passed("better", over_anchor=-0.005), passed("better", over_anchor=0.001)


@pytest.mark.parametrize(
    ("below", "wanted"),
    [
        ([], None),
        ([FIRST, BETTER], None),
        ([FIRST, BETTER, CHEAPER, CHEAPER], "1"),
        ([FIRST, CHEAPER, ABOVE], None),
        ([FIRST, CHEAPER, ABOVE, CHEAPER], "2"),
        ([FIRST, CHEAPER, BEHIND, CHEAPER, BEHIND, CHEAPER], "0"),
        ([FIRST, CHEAPER, None], None),
    ],
)
def test_the_anchor_moves_up_only_where_the_gain_makes_up_for_what_was_given_away(
    below, wanted
) -> None:
    decisions = {str(place): decision for place, decision in enumerate(below)}
    assert anchor(list(decisions), decided=decisions.get) == wanted
