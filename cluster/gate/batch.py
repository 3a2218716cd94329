"""Whether a night's labels may teach a router: do they fit what was expected of them?

What is expected is the champion's prediction, which has not seen them, or without a champion the
mean of the query's task and the candidate in earlier labels. How well labels usually fit is told by
the frozen snapshot, whose labels are trusted and which no router has seen either.

Poison and a candidate that changed are told apart by who disagrees:

- Labels that were shuffled, turned round or are all the same lose their agreement with what was
  expected, of all candidates at once: whichever candidate is left out, the others do not fit. The
  batch is refused.
- A candidate that got worse has another level over all tasks; the others fit as before. Its labels
  are believed, however they fall, as a candidate that fails answers alike to everything; it is told
  of as changed. A router that believes it uses it less, which the gate still has to let pass.
- A candidate's labels that agree with nothing though its level is the same, or higher, are no
  candidate that got worse. These alone are refused.
- Levels that have nothing to do with what was expected, of which some rose and some fell, are
  candidates taken for one another.

Each verdict of `refused` is a test at a level of its own, so that over the horizon of nights the
chance of any wrong one is at most `alpha` (Bonferroni over nights, batches and tests).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from cluster.gate.admission import Admission, Change, Verdict
from cluster.gate.agreement import FEWEST, VIEWS, Share, View, share, slope
from cluster.gate.rules import AdmissionRules
from cluster.outcome import FloatMatrix

# Of the range of rewards: a level that moved by less is no change worth a word.
MATERIAL = 0.1
# Of the tests whether the others fit, when one candidate is left out: only how sure it is that not
# one candidate alone disagrees. That the batch as a whole does is tested at its own level.
LEAVE_ONE_OUT = 0.01


@dataclass(frozen=True)
class Labels:
    """Labels with what was expected of them.

    Attributes:
        candidates: names, the order of the columns.
        reward: (n_queries, n_candidates), NaN where there is no label.
        expected: (n_queries, n_candidates), NaN where nothing is expected of a candidate.
    """

    candidates: tuple[str, ...]
    reward: FloatMatrix
    expected: FloatMatrix

    def only(self, columns: Sequence[int]) -> "Labels":
        """Those of some candidates."""
        index = list(columns)
        names = tuple(self.candidates[column] for column in index)
        return Labels(names, self.reward[:, index], self.expected[:, index])


@dataclass(frozen=True)
class _Case:
    """A batch beside what is usual, and the level of each of its tests."""

    batch: Labels
    usual: Labels
    level: float
    least: float

    def only(self, columns: Sequence[int]) -> "_Case":
        return _Case(self.batch.only(columns), self.usual.only(columns), self.level, self.least)

    def share(self, view: View, *, level: float | None = None) -> Share:
        found, usual = (
            slope(labels.reward, expected=labels.expected, view=view)
            for labels in (self.batch, self.usual)
        )
        return share(found, usual=usual, level=level or self.level, least=self.least)

    @property
    def range(self) -> float:
        known = self.usual.reward[~np.isnan(self.usual.reward)]
        return float(known.max() - known.min()) if len(known) else 1.0


def admit(
    name: str, *, batch: Labels, usual: Labels, rules: AdmissionRules, batches: int = 1
) -> Admission:
    """What becomes of a batch of labels.

    Args:
        name: of the batch.
        batch: its labels, of queries whose task the snapshot has.
        usual: the snapshot's, with the same candidates in the same order.
        rules: what is promised.
        batches: of this night.
    """
    assert batch.candidates == usual.candidates, "candidates differ"
    n_labels = int((~np.isnan(batch.reward)).sum())
    known = _known(batch, usual=usual)
    tests = len(VIEWS) + len(known)
    level = rules.alpha / rules.horizon / batches / tests
    case = _Case(batch, usual, level, rules.least).only(known)
    shares = {view: case.share(view) for view in VIEWS}
    agreement = (shares["queries"].value, shares["candidates"].value)
    changed = _changes(case)
    why = _poisoned(case, shares=shares, changed=changed)
    if why:
        return Admission(name, "refused", why, n_labels, batch.candidates, (), agreement)
    refused = _refused_alone(case, changed=changed)
    believed = tuple(one for one in changed if one.candidate not in refused)
    verdict, words = _verdict(refused, shares=shares, changed=believed)
    return Admission(name, verdict, words, n_labels, tuple(refused), believed, agreement)


def _known(batch: Labels, *, usual: Labels) -> list[int]:
    """Columns of the candidates of whom enough was expected, here and on the snapshot."""
    counts = [(~np.isnan(labels.reward + labels.expected)).sum(axis=0) for labels in (batch, usual)]
    enough = np.minimum(*counts) >= FEWEST
    return [int(column) for column in np.flatnonzero(enough)]


def _poisoned(case: _Case, *, shares: dict[View, Share], changed: Sequence[Change]) -> str:
    """Why the whole batch is refused; empty where it is not.

    The agreement must be too little whichever candidate is left out. Levels count where some rose
    and some fell: several candidates may get worse on one day.
    """
    width = len(case.batch.candidates)
    others = [[c for c in range(width) if c != left_out] for left_out in range(width)]
    against = len({one.shift > 0 for one in changed}) == 2
    for view, whole in shares.items():
        least_width = {"queries": 2, "candidates": 2, "levels": 4}[view]
        if whole.at_most >= case.least or width < least_width:
            continue
        if view == "levels" and not against:
            continue
        # One candidate alone has nobody to be better than.
        parts = others if view == "queries" or width > 2 else []
        if all(
            case.only(part).share(view, level=LEAVE_ONE_OUT).at_most < case.least for part in parts
        ):
            return _disagree(whole, view=view, case=case)
    return ""


def _disagree(found: Share, *, view: View, case: _Case) -> str:
    known = case.batch.reward[~np.isnan(case.batch.reward)]
    if len(known) and known.min() == known.max():
        kind = f"they are all {known[0]:g}"
    elif found.value < -case.least:
        kind = "they are turned round"
    else:
        kind = "they are as good as shuffled"
    return (
        f"the labels do not fit: over {view} they agree {_percent(found.value)} as much with what "
        f"was expected as the snapshot's labels do, at most {_percent(found.at_most)}, and at "
        f"least {_percent(case.least)} must be possible; {kind}, of whichever candidates"
    )


def _changes(case: _Case) -> list[Change]:
    """Candidates whose level moved beside that of the others, surely and by enough to matter."""
    if not case.batch.candidates:
        return []
    means, errors, counts = _levels(case)
    shifts = means - _usual_shift(means)
    surely = stats.t.ppf(1 - case.level, np.maximum(counts - 1, 1)) * errors
    moved = (np.abs(shifts) > surely) & (np.abs(shifts) > MATERIAL * case.range)
    return [
        Change(
            candidate=case.batch.candidates[column],
            shift=float(shifts[column]),
            low=float(shifts[column] - surely[column]),
            high=float(shifts[column] + surely[column]),
            n=int(counts[column]),
        )
        for column in np.flatnonzero(moved)
    ]


def _usual_shift(means: FloatMatrix) -> float:
    """What all levels moved by, (n_candidates,): the queries got easier or harder.

    Most candidates are thought to be as they were. Of two the one that moved less is; of one alone
    it cannot be told, and all of its move counts as its own.
    """
    if len(means) > 2:
        return float(np.median(means))
    return float(means[np.argmin(np.abs(means))]) if len(means) == 2 else 0.0


def _levels(case: _Case) -> tuple[FloatMatrix, FloatMatrix, npt.NDArray[np.int64]]:
    """(n_candidates,) each: labels above what was expected, less the same on the snapshot; its
    standard error; the lesser number of queries."""
    means, variances, counts = [], [], []
    for labels in (case.batch, case.usual):
        residual = labels.reward - labels.expected
        count = (~np.isnan(residual)).sum(axis=0)
        means.append(np.nanmean(residual, axis=0))
        variances.append(np.nanvar(residual, axis=0, ddof=1) / count)
        counts.append(count)
    errors: FloatMatrix = np.sqrt(variances[0] + variances[1])
    return means[0] - means[1], errors, np.minimum(*counts)


def _refused_alone(case: _Case, *, changed: Sequence[Change]) -> list[str]:
    """Candidates whose own labels agree with nothing, and who did not get worse."""
    fell = {one.candidate for one in changed if one.shift < 0}
    return [
        name
        for column, name in enumerate(case.batch.candidates)
        if name not in fell and case.only([column]).share("queries").at_most < case.least
    ]


def _verdict(
    refused: Sequence[str],
    *,
    shares: dict[View, Share],
    changed: Sequence[Change],
) -> tuple[Verdict, str]:
    """The verdict on a batch that is not refused as a whole, in words."""
    words = [_changed_words(one) for one in changed]
    if refused:
        names = ", ".join(f"'{name}'" for name in refused)
        words.insert(0, f"the labels of {names} do not fit, those of the others do")
        return "partly refused", "; ".join(words)
    if not any(found.told for found in shares.values()):
        why = "too few labels, or too little is expected of them, to tell whether they fit"
        return "too few to tell", "; ".join([why, *words])
    told = [f"{_percent(one.value)} over {view}" for view, one in shares.items() if one.told]
    fit = f"the labels fit: of the snapshot's agreement with what was expected {', '.join(told)}"
    return "admitted", "; ".join([fit, *words])


def _changed_words(one: Change) -> str:
    verb = "better" if one.shift > 0 else "worse"
    return (
        f"'{one.candidate}' answers {verb} than it did, by {one.shift:+.3f} beside the others "
        f"[{one.low:+.3f}, {one.high:+.3f}]: if it is another model now, give it another revision, "
        "so that the snapshot's answers are collected anew"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
