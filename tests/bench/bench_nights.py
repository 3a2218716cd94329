"""Sixty nights of retraining with the gate and the admission of labels, and without them.

    python tests/bench/bench_nights.py [--seeds 24] [--nights 60] [--picture infra/demo/nights.png]

Made-up worlds of which the truth is known (`tests/nights.py`): a mix of queries that drifts, a
candidate that gets worse on night 20, a new one on night 30, a poisoned file of labels on night 40.
Half of the worlds have labels turned round, half shuffled. Answers have prices, and a thrifty
version goes before the gate every night beside the best. The decisions are made by the project's
own functions.

Then some worlds with a larger snapshot and a wider margin, where more can pass for less money, and
files on night 40 of which a part of the labels is turned round, by the part and the file's size.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.nights import Move, Nights, Offered, Plan, Told

TAKEN_UP = 0.05
# Of the labels, turned round; of nights, a file's length.
SHARES, SIZES = (0.1, 0.25, 0.5, 1.0), (1, 5, 20)
# A snapshot and a margin that let a thrifty version pass.
WIDE = Plan(frozen=4000, margin=0.03)


def main() -> None:
    """Run the worlds, print what came of them, draw the mean."""
    arguments = parsed()
    plans = [
        Plan(nights=arguments.nights, kind=("turned", "shuffled")[seed % 2])
        for seed in range(arguments.seeds)
    ]
    guarded = [Nights(plan, seed=seed).run() for seed, plan in enumerate(plans)]
    control = [
        Nights(Plan(nights=plan.nights, kind=plan.kind, guarded=False), seed=seed).run()
        for seed, plan in enumerate(plans)
    ]
    tell(guarded, control=control, plan=plans[0])
    tell_moves("wide", [Nights(WIDE, seed=seed).run() for seed in range(arguments.wide)], plan=WIDE)
    tell_degrees([by_degree(seed) for seed in range(arguments.degrees)])
    if arguments.picture:
        picture(guarded, control=control, plan=plans[0], path=arguments.picture)


def tell(guarded: Sequence[Told], *, control: Sequence[Told], plan: Plan) -> None:
    """The figures."""
    runs = len(guarded)
    print(f"{runs} worlds of {plan.nights} nights")
    tell_moves("main", guarded, plan=plan)
    print(f"poisoned file refused: {sum(one.poison_refused for one in guarded)} of {runs}")
    batches = sum(one.batches for one in guarded)
    honest = sum(len(one.refused) for one in guarded)
    print(f"honest batches refused: {honest} of {batches}, in {_any(guarded, 'refused')} worlds")
    told = [min((night for night, _ in one.changed), default=-1) for one in guarded]
    print(f"the candidate that got worse was told of on night (median): {np.median(told):.0f}")
    taken = [_taken_up(one) for one in guarded]
    print(
        f"new candidate taken up: in {sum(night is not None for night in taken)} worlds, on night "
        f"(median) {np.median([night for night in taken if night is not None]):.0f}"
    )
    falls = [_greatest_fall(one, night=plan.poison) for one in (*guarded, *control)]
    for name, found in (("with", falls[:runs]), ("without", falls[runs:])):
        print(f"fall by the poisoned file, {name}: mean {np.mean(found):.4f}, {np.max(found):.4f}")
    for name, several in (("with", guarded), ("without", control)):
        mean = np.mean([one.champion for one in several])
        cost = 1000 * np.mean([one.cost for one in several])
        print(f"the champion over all nights, {name}: {mean:.4f}, USD {cost:.3f} a 1,000 queries")


def tell_moves(name: str, several: Sequence[Told], *, plan: Plan) -> None:
    """What the promotions changed, by how they were earned."""
    every = [move for one in several for move in one.moves]
    for how in ("better", "cheaper"):
        moves = [move for move in every if move.how == how]
        print(f"{name}, {how}: {len(moves)} promotions in {len(several)} worlds")
        if moves:
            _tell_kind(moves, least=-plan.margin if how == "cheaper" else 0.0)


def _tell_kind(moves: Sequence[Move], *, least: float) -> None:
    reward, cost, anchor, highest = (
        np.array([getattr(move, name) for move in moves])
        for name in ("reward", "cost", "over_anchor", "over_highest")
    )
    print(f"  reward: mean {reward.mean():+.4f}, least {reward.min():+.4f}")
    print(f"  below what is permitted ({least:+g}): {(reward < least).sum()}")
    print(f"  cost: mean {cost.mean():+.1%}, most {cost.max():+.1%}")
    print(f"  over the anchor, least: {anchor.min():+.4f}; over the highest: {highest.min():+.4f}")


def by_degree(seed: int) -> dict[tuple[float, int], Offered]:
    """One world at the night of the poison, and what each file would do there."""
    plan = Plan()
    nights = Nights(plan, seed=seed)
    nights.run(until=plan.poison)
    return {
        (share, size): copy.deepcopy(nights).offered(share=share, nights=size, night=plan.poison)
        for share in SHARES
        for size in SIZES
    }


def tell_degrees(worlds: Sequence[dict[tuple[float, int], Offered]]) -> None:
    """Refused, and falls in reward, mean and greatest, by share and size."""
    print("turned  nights  refused  champion's fall where it passed  fall without gate, admission")
    for share in SHARES:
        for size in SIZES:
            cell = [world[share, size] for world in worlds]
            refused = sum(one.refused for one in cell)
            fell = _falls([one.fall for one in cell if not one.refused])
            without = _falls([one.without for one in cell])
            print(f"{share:6.0%}  {size:6}  {refused:3}/{len(cell):3}  {fell:31}  {without}")


def _falls(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.4f} (most {np.max(values):+.4f})" if values else "none passed"


def _any(several: Sequence[Told], name: str) -> int:
    return sum(bool(getattr(one, name)) for one in several)


def _taken_up(one: Told) -> int | None:
    nights = np.flatnonzero(np.array(one.share_of_new) > TAKEN_UP)
    return int(nights[0]) if len(nights) else None


def _greatest_fall(one: Told, *, night: int) -> float:
    """From the night before the poison to the worst of the five from it on."""
    champion = np.array(one.champion)
    return float(champion[night - 1] - champion[night : night + 5].min())


def picture(guarded: Sequence[Told], *, control: Sequence[Told], plan: Plan, path: Path) -> None:
    """The champion's true value, night by night; the mean over the worlds and nine in ten."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=110)
    nights = np.arange(plan.nights)
    for told, colour, label in (
        (guarded, "#1b6ca8", "champion, with gate and admission"),
        (control, "#c0392b", "newest router, without"),
    ):
        values = np.array([one.champion for one in told])
        axes.plot(nights, values.mean(axis=0), color=colour, label=label, lw=2)
    for name, colour in (("oracle", "#999999"), ("best_single", "#555555")):
        mean = np.mean([getattr(one, name) for one in guarded], axis=0)
        axes.plot(nights, mean, color=colour, ls="--", lw=1.2, label=name.replace("_", " "))
    events = {plan.worse: "a candidate\ngets worse", plan.joins: "a new\ncandidate"}
    # Below the lowest curve there is room for the events' names.
    low, high = axes.get_ylim()
    bottom = low - 0.16 * (high - low)
    axes.set_ylim(bottom, high)
    for night, word in (events | {plan.poison: "a poisoned\nfile"}).items():
        axes.axvline(night, color="#bbbbbb", lw=1)
        axes.text(night + 0.5, bottom, word, va="bottom", fontsize=8, color="#333333")
    axes.set_xlabel("night")
    axes.set_ylabel("true macro mean reward\non the fixed test")
    axes.set_title(f"Mean of {len(guarded)} made-up worlds", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--wide", type=int, default=6, help="worlds with a wide margin")
    parser.add_argument("--degrees", type=int, default=8, help="worlds offered part poison")
    parser.add_argument("--picture", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
