"""A short run of the simulation: what sixty nights show, on 26."""

import numpy as np
import pytest

from tests.nights import Nights, Plan

PLAN = Plan(nights=26, worse=6, joins=12, poison=20, a_night=150, frozen=700)


@pytest.mark.parametrize(("seed", "kind"), [(0, "turned"), (1, "shuffled")])
def test_the_champion_never_gets_worse_the_poison_is_refused_the_new_one_taken_up(
    seed, kind
) -> None:
    told = Nights(Plan(**vars(PLAN) | {"kind": kind}), seed=seed).run()
    assert told.moves
    assert min(move.reward for move in told.moves if move.how == "better") > 0
    assert min(move.over_anchor for move in told.moves) > -0.01
    assert told.poison_refused
    assert not told.refused
    assert (6, told.changed[0][1]) == told.changed[0]
    assert max(told.share_of_new[12:]) > 0.05
    before, after = np.array(told.champion[19]), np.array(told.champion[20:])
    assert (after >= before).all()


def test_champions_for_less_money_follow_each_other_without_losing_more_than_the_margin() -> None:
    calm: dict[str, int] = {"worse": 99, "joins": 99, "poison": 99}
    plan = Plan(nights=6, a_night=150, frozen=4000, margin=0.03, **calm)
    told = Nights(plan, seed=2).run()
    cheaper = [move for move in told.moves if move.how == "cheaper"]
    assert len(cheaper) > 1
    assert max(move.cost for move in cheaper) < 0
    assert min(move.over_highest for move in told.moves) > -plan.margin
