"""Sixty nights of retraining with the gate and the admission of labels, and without them.

    python tests/bench/bench_nights.py [--seeds 40] [--nights 60] [--picture infra/demo/nights.png]

Made-up worlds of which the truth is known (`tests/nights.py`): a mix of queries that drifts, a
candidate that gets worse on night 20, a new one on night 30, a poisoned file of labels on night 40.
Half of the worlds have labels turned round, half shuffled. The decisions are made by the project's
own functions.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.nights import Nights, Plan, Told

TAKEN_UP = 0.05


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
    if arguments.picture:
        picture(guarded, control=control, plan=plans[0], path=arguments.picture)


def tell(guarded: Sequence[Told], *, control: Sequence[Told], plan: Plan) -> None:
    """The figures."""
    runs = len(guarded)
    moves = np.array([move for one in guarded for move in one.promoted.values()])
    worse = sum(any(move < 0 for move in one.promoted.values()) for one in guarded)
    print(f"{runs} worlds of {plan.nights} nights")
    print(f"promotions: {len(moves) / runs:.1f} a world; that made the champion worse: in {worse}")
    print(f"the least that a promotion gained: {moves.min():+.4f}")
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
        print(f"mean reward of the champion over all nights, {name}: {mean:.4f}")


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
    bottom = axes.get_ylim()[0]
    for night, word in (events | {plan.poison: "a poisoned\nfile"}).items():
        axes.axvline(night, color="#bbbbbb", lw=1)
        axes.text(night + 0.5, bottom, word, va="bottom", fontsize=9, color="#333333")
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
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--picture", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
