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
from dataclasses import replace
from typing import Any

import numpy as np

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix, concatenate
from cluster.routers.pairs import ComparisonMethod
from cluster.routers.router import Method
from cluster.routers.strong_weak import pair_columns
from cluster.routers.tier_pair import paired_rows

# RouteLLM's cut of the arena's candidates (ICLR 2025, arXiv 2406.18665, section 3.1).
ARENA_TIERS = {"tiers": 10, "strong_tiers": (0, 1), "weak_tier": 2}
LEARNED = ("train", "validation")


def learns_from_battles(method: type[Method]) -> bool:
    """Whether what a method makes of two rewards is a comparison of them and nothing else."""
    return issubclass(method, ComparisonMethod)


def lesson(
    method: Method,
    train: OutcomeMatrix,
    validation: OutcomeMatrix,
    *,
    battles: OutcomeMatrix | None = None,
) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    """The rows a method with these settings is trained on, and those that it is judged on.

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
        return train, validation
    if battles is None:
        return paired_rows(method, train, validation)
    ids = dict(zip(train.candidates, train.candidate_ids, strict=True))
    if method.learns_tiers:
        ids = dict(zip(battles.candidates, battles.candidate_ids, strict=True)) | ids
    else:
        battles = between(battles, candidates=_fighters(method, names=train.candidates))
    fought = [on_candidates_of(battles.on_splits([split]), ids=ids) for split in LEARNED]
    own = [on_candidates_of(rows, ids=ids) for rows in (train, validation)]
    learned = _joined([own[0], fought[0], *([fought[1]] if len(validation) else [])])
    if not method.learns_tiers:
        _require_battles(method, fought, names=train.candidates)
    judged = own[1] if len(validation) else fought[1]
    rows = paired_rows(method, learned, _joined([judged]))
    _require_own(rows[0], train=train)
    return rows


def usual_settings(
    fixed: Mapping[str, Any], *, train: OutcomeMatrix, battles: OutcomeMatrix
) -> dict[str, Any]:
    """Settings of a method that compares, where they are not given: the pair, and its tiers.

    Two candidates with outcomes are a pair, the one with the higher macro mean the strong. Tiers
    are RouteLLM's where no battle is between those who are to be routed between.

    Args:
        fixed: what is given.
        train: outcomes; may have no row.
        battles: to learn from.
    """
    found: dict[str, Any] = {}
    named = [fixed.get(side, "") for side in ("strong", "weak")]
    if not any(named) and len(train.candidates) == 2 and len(train):
        columns = pair_columns(train, strong="", weak="")
        named = [train.candidates[column] for column in columns]
        found = dict(zip(("strong", "weak"), named, strict=True))
    fighters = named if all(named) else train.candidates
    met = len(between(battles, candidates=fighters))
    return found if "tiers" in fixed or met else found | ARENA_TIERS


def between(battles: OutcomeMatrix, *, candidates: Sequence[str]) -> OutcomeMatrix:
    """The battles of which both sides are among some candidates."""
    columns = [place for place, name in enumerate(battles.candidates) if name in candidates]
    return battles.take(np.asarray(battles.mask[:, columns].sum(axis=1) >= 2))


def on_candidates_of(outcomes: OutcomeMatrix, *, ids: Mapping[str, str]) -> OutcomeMatrix:
    """The same rows with these candidates (name → id) for columns; of the new nothing is known."""
    place = {name: column for column, name in enumerate(outcomes.candidates)}

    def moved(matrix: FloatMatrix, *, empty: float) -> FloatMatrix:
        wider = np.full((len(outcomes), len(ids)), empty)
        for column, name in enumerate(ids):
            if name in place:
                wider[:, column] = matrix[:, place[name]]
        return wider

    return replace(
        outcomes,
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


def _joined(parts: Sequence[OutcomeMatrix]) -> OutcomeMatrix:
    """The rows of all; tags, which battles do not have, are left out."""
    bare = [replace(part, queries=part.queries.drop("tags", strict=False)) for part in parts]
    joined = bare[0]
    for part in bare[1:]:
        joined = concatenate(joined, part)
    return joined


def _fighters(method: ComparisonMethod, *, names: tuple[str, ...]) -> tuple[str, ...]:
    """Whose battles teach: those of the pair that is named, or of all candidates."""
    return (method.strong, method.weak) if method.strong and method.weak else names


def _require_own(rows: OutcomeMatrix, *, train: OutcomeMatrix) -> None:
    strange = [name for name in rows.candidates if name not in train.candidates]
    if strange:
        raise InputError(
            f"tiers of battles teach a pair, here {' and '.join(rows.candidates)}, and there are "
            f"outcomes of {', '.join(train.candidates)}: name two of these with --strong and --weak"
        )


def _require_rows(method: Method, train: OutcomeMatrix) -> None:
    if not len(train):
        raise InputError(
            f"method '{method.name}' learns from rewards, and no train query has one: battles "
            "teach the methods that compare, such as mf or similarity_weighted"
        )


def _require_battles(
    method: ComparisonMethod, fought: Sequence[OutcomeMatrix], *, names: tuple[str, ...]
) -> None:
    if not any(len(rows) for rows in fought):
        listed = " and ".join(f"'{name}'" for name in _fighters(method, names=names))
        raise InputError(
            f"method '{method.name}': no battle to learn from is between {listed}: compare tiers "
            "of all that fought, with the settings 'tiers', 'strong_tiers' and 'weak_tier'"
        )
