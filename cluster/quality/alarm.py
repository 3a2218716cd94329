"""What a person should know of a collection before training on it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Alarm:
    """One thing that is wrong, or that limits what can be learned.

    Attributes:
        about: the measure it comes from, a key of `quality.json`.
        words: what is wrong, with its number.
        todo: what to do about it.
    """

    about: str
    words: str
    todo: str


def percent(share: float) -> str:
    """A share in percent: one decimal below ten, and never 0 or 100 where it is not."""
    value = 100 * share
    if 0 < value < 0.1:
        return "under 0.1 %"
    if 99.9 < value < 100:
        return "over 99.9 %"
    return f"{value:.1f} %" if 0 < value < 10 else f"{value:.0f} %"


def level(reward: float, *, is_unit: bool) -> str:
    """A mean reward: in percent where rewards are between 0 and 1, else as a number."""
    return f"{100 * reward:.1f} %" if is_unit else f"{reward:.3g}"


def gap(difference: float, *, is_unit: bool) -> str:
    """A difference of mean rewards: in points where rewards are between 0 and 1."""
    return f"{100 * difference:.1f} points" if is_unit else f"{difference:.3g}"


def listed(names: list[str], *, most: int = 5) -> str:
    """Names in a sentence, the last ones counted where there are many."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
