"""How an error rate is spent over the looks at one snapshot.

Every look at a frozen snapshot is a chance to be fooled by it, so a snapshot has one error rate,
alpha, and a horizon of looks. Look i of n has the share

    gamma_i = (1 / i) / (1 + 1/2 + ... + 1/n)

of it: the first looks, which decide about the first champions, have most (.0107 of .05 with 60
looks), the last .0002, which makes an interval only 1.4 times as wide. A look that promoted hands
what it had on to the next one (online fallback; Tian and Ramdas 2021, "Online control of the
familywise error rate"):

    level_i = alpha · gamma_i + level_{i−1} · [look i−1 promoted]

The chance of any wrong promotion stays at most alpha, whatever the looks have in common: until the
first wrong one, what a look that ought not to promote has was handed on from right ones alone, so
such a look has at most the shares since the last one like it, and these sum to at most alpha.

This holds for versions made without a look at the snapshot. The champion is one that did well on
it, by luck too, which makes it harder to beat there than it ought to be: an error on the safe side.
What follows from the looks is one word a night, and no label; a snapshot whose numbers are read by
people who then tune a method by them promises nothing any more.

When the horizon is used up, nothing is promoted on this snapshot, another of nearly the same rows
cannot be frozen (`cluster.gate.renewal`), and what the last look had is
handed on to nobody. What was spent is kept as events in the lake, a `look` before the comparison is
made and a `decided` behind it. The same comparison asked for again is the same look, unless that
one saw nothing, as the snapshot lacked a candidate: it is closed then, for what it had was handed
on, and asking again takes the next one.
"""

import json
from dataclasses import dataclass

import polars as pl

from cluster.gate.decision import Comparison, Decision
from cluster.gate.events import Event, append_event
from cluster.gate.rules import GateRules
from cluster.lake.lake import Lake
from cluster.lake.tables import LOOKS

LOOK = "look"
DECIDED = "decided"
# The table of a look that compared nothing, as the snapshot lacked a candidate.
NOTHING = "[]"


@dataclass(frozen=True)
class Look:
    """A look at a snapshot.

    Attributes:
        snapshot: its name.
        number: from 1.
        level: one-sided error rate of its bounds; 0: used up, nothing may be promoted.
        comparison: what is compared, as a digest.
    """

    snapshot: str
    number: int
    level: float
    comparison: str


def share(look: int, *, horizon: int) -> float:
    """gamma of a look, from 1; 0 behind the horizon."""
    if look > horizon:
        return 0.0
    return 1 / look / sum(1 / i for i in range(1, horizon + 1))


def level(look: int, *, rules: GateRules, handed_on: float = 0.0) -> float:
    """One-sided error rate of a look; 0 behind the horizon.

    `handed_on`: that of the look before, where it promoted or saw nothing.
    """
    if look > rules.horizon:
        return 0.0
    return rules.alpha * share(look, horizon=rules.horizon) + handed_on


def next_look(
    events: pl.DataFrame, *, snapshot: str, comparison: str, rules: GateRules
) -> tuple[Look, bool]:
    """The next look at a snapshot and True, or the look that made this comparison and False.

    Args:
        events: of the looks so far, in their order; columns of `LOOKS`.
        snapshot: its name.
        comparison: what is compared, as a digest.
        rules: what is promised.
    """
    events = events.filter(snapshot=snapshot)
    own = events.filter(event=LOOK, comparison=comparison)
    blind = events.filter(event=DECIDED, table=NOTHING)["look"]
    still = own.filter(~pl.col("look").is_in(blind.implode()))
    if still.height:
        row = still.row(-1, named=True)
        return Look(snapshot, row["look"], row["level"], comparison), False
    last = events.filter(event=LOOK)["look"].max() or 0
    assert isinstance(last, int)
    left = level(last + 1, rules=rules, handed_on=_handed_on(events, look=last))
    return Look(snapshot, last + 1, left, comparison), True


def look_event(look: Look, *, version: str, champion: str) -> Event:
    """What is kept before a comparison is made."""
    return {
        "event": LOOK,
        "snapshot": look.snapshot,
        "comparison": look.comparison,
        "look": look.number,
        "level": look.level,
        "version": version,
        "champion": champion,
    }


def decided_event(look: Look, *, version: str, decision: Decision) -> Event:
    """What is kept behind it."""
    return {
        "event": DECIDED,
        "snapshot": look.snapshot,
        "comparison": look.comparison,
        "look": look.number,
        "level": look.level,
        "version": version,
        "how": decision.how,
        "why": decision.why,
        "table": json.dumps(decision.table()),
    }


def take_look(
    lake: Lake, *, snapshot: str, comparison: str, version: str, champion: str, rules: GateRules
) -> Look:
    """The next look at a snapshot, or the one in which this very comparison was made before.

    Raises:
        LakeError: other looks keep coming between.
    """
    found: list[Look] = []

    def wanted(events: pl.DataFrame) -> Event | None:
        look, is_new = next_look(events, snapshot=snapshot, comparison=comparison, rules=rules)
        found.append(look)
        # Behind the horizon nothing is left to spend.
        new = is_new and look.level
        return look_event(look, version=version, champion=champion) if new else None

    append_event(wanted, lake=lake, table=LOOKS, scope=f"looks/{snapshot}")
    return found[-1]


def note_decision(lake: Lake, *, look: Look, version: str, decision: Decision) -> None:
    """Keep what a look came to; noting it again changes nothing."""

    def wanted(events: pl.DataFrame) -> Event | None:
        if events.filter(event=DECIDED, snapshot=look.snapshot, look=look.number).height:
            return None
        return decided_event(look, version=version, decision=decision)

    append_event(wanted, lake=lake, table=LOOKS, scope=f"looks/{look.snapshot}")


def looks(lake: Lake, *, snapshot: str) -> pl.DataFrame:
    """One row a look, oldest first: `look`, `at`, `level`, `version`, `champion`, `how`, `why`.

    `how` and `why` are null where nothing was decided yet.
    """
    events = lake.read(LOOKS).filter(snapshot=snapshot)
    decided = events.filter(event=DECIDED).select("look", "how", "why")
    return (
        events.filter(event=LOOK)
        .drop("how", "why")
        .join(decided, on="look", how="left")
        .sort("look")
        .select("look", "at", "level", "version", "champion", "how", "why")
    )


def seen_snapshots(lake: Lake) -> set[str]:
    """Names of the snapshots that something was compared on, or may have been."""
    events = lake.read(LOOKS)
    key = ["snapshot", "look"]
    blind = events.filter(event=DECIDED, table=NOTHING).select(key)
    return set(events.filter(event=LOOK).join(blind, on=key, how="anti")["snapshot"])


def decision_on(lake: Lake, *, version: str) -> Decision | None:
    """The last decision by which a version passed the gate; None where it never did."""
    passed = lake.read(LOOKS).filter(
        (pl.col("event") == DECIDED) & (pl.col("version") == version) & (pl.col("how") != "")
    )
    if not passed.height:
        return None
    row = passed.sort("sequence").row(-1, named=True)
    return Decision(
        promote=True,
        why=row["why"],
        how=row["how"],
        comparisons=tuple(Comparison(**one) for one in json.loads(row["table"])),
        snapshot=row["snapshot"],
        look=row["look"],
        level=row["level"],
    )


def _handed_on(events: pl.DataFrame, *, look: int) -> float:
    """The level of the last look, where it is known to have promoted or to have seen nothing."""
    last = events.filter((pl.col("event") == DECIDED) & (pl.col("look") == look))
    if not last.height:
        return 0.0
    spent = not last["how"][0] and last["table"][0] != NOTHING
    return 0.0 if spent else float(last["level"][0])
