"""What a method learns from where there are preference battles beside outcomes, or alone.

A battle's rewards, outcome and 1 − outcome (`cluster.lake.preferences`), are relative: 1 says that
a candidate did better than the other one, not that it did well. So only the methods that learn
from differences may see them, the subclasses of `ComparisonMethod`, for which
(1 + r_a − r_b) / 2 is the outcome again. Baselines and all other methods have the outcomes alone.

Candidates go by their names. Without tiers the battles between two of the outcomes' candidates are
learned from as they are; with `strong_tiers` and `weak_tier` all battles are, as comparisons of
tiers, for the pair that is to be routed between (`cluster.routers.tier_pair`).

Validation rows are the outcomes' own where there are any, as what is measured is like them, and the
battles' validation rows are then learned from too; otherwise they are the battles'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix, concatenate
from cluster.routers.pairs import ComparisonMethod
from cluster.routers.router import Method
from cluster.routers.strong_weak import pair_columns
from cluster.routers.tier_pair import paired_rows, tier_pair

# RouteLLM cuts the arena's 64 candidates into 10 tiers (ICLR 2025, arXiv 2406.18665, section 3.1).
MOST_TIERS = 10
CANDIDATES_A_TIER = 6
LEARNED = ("train", "validation")


def learns_from_battles(method: type[Method]) -> bool:
    """Whether what a method makes of two rewards is a comparison of them and nothing else."""
    return issubclass(method, ComparisonMethod)


@dataclass(frozen=True)
class Lesson:
    """The rows of one method.

    Attributes:
        train: what it is trained on.
        validation: what it is judged on.
        words: what was made of battles; empty without.
    """

    train: OutcomeMatrix
    validation: OutcomeMatrix
    words: str = ""


def lesson(
    method: Method,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    *,
    battles: OutcomeMatrix | None = None,
) -> Lesson:
    """What a method with these settings is trained on, and judged on.

    Args:
        method: with its settings.
        train, validation: outcomes; may have no row where there are battles.
        battles: a row a battle; of other splits than train and validation nothing is taken.

    Raises:
        InputError: nothing to learn from for this method, no battle between the candidates, or
            tiers that are not there.
    """
    if not isinstance(method, ComparisonMethod):
        _require_rows(method, train)
        word = "" if battles is None else "learns from rewards alone: the battles are not for it"
        return Lesson(train, validation, word)
    if battles is None:
        return Lesson(*paired_rows(method, train, validation))
    method.require_differences()
    taught = _with_tiers if method.learns_tiers else _with_battles
    return taught(method, train, validation, battles=battles)


def _with_battles(
    method: ComparisonMethod,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    *,
    battles: OutcomeMatrix,
) -> Lesson:
    """Outcomes, and the battles between their candidates, or between the pair that is named."""
    named = bool(method.strong and method.weak)
    fighters = (method.strong, method.weak) if named else train.candidates
    own = between(battles, candidates=fighters)
    if not len(own):
        raise InputError(
            f"method '{method.name}': no battle to learn from is between two of "
            f"{', '.join(fighters)}: compare tiers of all that fought, with the settings 'tiers', "
            "'strong_tiers' and 'weak_tier'"
        )
    ids = dict(zip(train.candidates, train.candidate_ids, strict=True))
    rows = _rows(train, validation, battles=own, ids=ids)
    words = f"learns from {len(train):,} outcomes and {len(own):,} battles between these candidates"
    return Lesson(rows[0], rows[1], words)


def _with_tiers(
    method: ComparisonMethod,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    *,
    battles: OutcomeMatrix,
) -> Lesson:
    """Outcomes of the pair, and the battles between tiers, which are cut by the battles alone."""
    ids = dict(zip(battles.candidates, battles.candidate_ids, strict=True)) | dict(
        zip(train.candidates, train.candidate_ids, strict=True)
    )
    learned, judged, fought = _rows(train, validation, battles=battles, ids=ids)
    pair = tier_pair(method, fought)
    rows, _ = pair.rows(learned)
    strange = [name for name in rows.candidates if name not in train.candidates]
    if strange:
        raise InputError(
            f"tiers of battles teach a pair, here {' and '.join(rows.candidates)}, and there are "
            f"outcomes of {', '.join(train.candidates)}: name two of these with --strong and --weak"
        )
    words = f"learns from {len(rows):,} comparisons: {pair.words(learned.candidates)}"
    return Lesson(rows, pair.rows(judged, needed=False)[0], words)


def _rows(
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    *,
    battles: OutcomeMatrix,
    ids: Mapping[str, str],
) -> tuple[OutcomeMatrix, OutcomeMatrix, OutcomeMatrix]:
    """What is learned from, what is judged on, and the battles among what is learned from."""
    splits = LEARNED if len(validation) else LEARNED[:1]
    fought = on_candidates_of(battles.on_splits(splits), ids=ids)
    judged = validation if len(validation) else battles.on_splits(["validation"])
    own = on_candidates_of(train, ids=ids)
    return concatenate(own, fought), on_candidates_of(judged, ids=ids), fought


def usual_settings(
    method: type[Method],
    fixed: Mapping[str, Any],
    *,
    train: OutcomeMatrix,
    battles: OutcomeMatrix,
) -> dict[str, Any]:
    """Settings of a method that learns from battles, where they are not given: pair and tiers.

    Two candidates with outcomes are a pair, the one with the higher macro mean the strong. Tiers
    are the usual ones where no battle is between those who are to be routed between, and where
    battles are all there is, which are to teach a scale for any pair.

    Args:
        method: one that learns from battles; any other needs nothing.
        fixed: what is given.
        train: outcomes; may have no row.
        battles: to learn from.
    """
    if not issubclass(method, ComparisonMethod):
        return {}
    found = {key: value for key, value in method.by_difference.items() if key not in fixed}
    named = [fixed.get(side, "") for side in ("strong", "weak")]
    if not any(named) and len(train.candidates) == 2 and len(train):
        columns = pair_columns(train, strong="", weak="")
        named = [train.candidates[column] for column in columns]
        found |= zip(("strong", "weak"), named, strict=True)
    fighters = named if all(named) else train.candidates
    alone = train.candidates == battles.candidates and not len(train)
    met = not alone and len(between(battles, candidates=fighters)) > 0
    tiers = usual_tiers(len(battles.candidates))
    return found if "tiers" in fixed or met else found | tiers


def usual_tiers(n_candidates: int) -> dict[str, Any]:
    """How so many candidates are cut: the best fifth of the tiers against the next tier.

    A tier for each six of them: of 14 two tiers, 0 against 1; of 60 and more RouteLLM's 10, and 0
    and 1 against 2. Ten tiers of a dozen candidates would be one candidate each, with next to
    nothing between neighbours and hardly a battle of theirs.
    """
    tiers = min(max(n_candidates // CANDIDATES_A_TIER, 2), MOST_TIERS)
    n_strong = max(round(tiers / 5), 1)
    return {"tiers": tiers, "strong_tiers": tuple(range(n_strong)), "weak_tier": n_strong}


def between(battles: OutcomeMatrix, *, candidates: Sequence[str]) -> OutcomeMatrix:
    """The battles of which both sides are among some candidates."""
    columns = [place for place, name in enumerate(battles.candidates) if name in candidates]
    return battles.take(np.asarray(battles.mask[:, columns].sum(axis=1) >= 2))


def on_candidates_of(outcomes: OutcomeMatrix, *, ids: Mapping[str, str]) -> OutcomeMatrix:
    """The same rows with these candidates (name → id) for columns; of the new nothing is known.

    Answers and tags, which no battle has, are left out.
    """
    place = {name: column for column, name in enumerate(outcomes.candidates)}

    def moved(matrix: FloatMatrix, *, empty: float) -> FloatMatrix:
        wider = np.full((len(outcomes), len(ids)), empty)
        for column, name in enumerate(ids):
            if name in place:
                wider[:, column] = matrix[:, place[name]]
        return wider

    return replace(
        outcomes,
        queries=outcomes.queries.drop("tags", strict=False),
        candidates=tuple(ids),
        candidate_ids=tuple(ids.values()),
        reward=moved(outcomes.reward, empty=np.nan),
        prompt_tokens=moved(outcomes.prompt_tokens, empty=np.nan),
        completion_tokens=moved(outcomes.completion_tokens, empty=np.nan),
        cost_usd=moved(outcomes.cost_usd, empty=np.nan),
        n_samples=moved(outcomes.n_samples, empty=0.0),
        truncated=moved(outcomes.truncated, empty=0.0),
        answers=None,
    )


def _require_rows(method: Method, train: OutcomeMatrix) -> None:
    if not len(train):
        raise InputError(
            f"method '{method.name}' learns from rewards, and no train query has one: battles "
            "teach the methods that compare, such as mf or similarity_weighted"
        )
