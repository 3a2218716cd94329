"""A strong and a weak candidate, learned from comparisons of whole tiers.

Of many candidates most pairs never met, and a pair that is to be routed between may not be among
them at all. RouteLLM (ICLR 2025, arXiv 2406.18665, section 3.1) lets every comparison of a strong
tier's candidate with a weak tier's one teach the same two players; what is learned is which queries
take a strong candidate. The pair that is named has these scores, whether it was in the tiers or not
(section 5.3).
"""

from dataclasses import dataclass, replace

import numpy as np

from cluster.errors import InputError
from cluster.outcome import FloatMatrix, OutcomeMatrix, concatenate
from cluster.preference import Comparisons, Positions
from cluster.routers.pairs import ComparisonMethod, compare
from cluster.routers.strong_weak import on_candidates, pair_columns
from cluster.routers.tiers import Tiers, strength_tiers

STRONG, WEAK, NEITHER = 0, 1, -1
# Comparisons of every two that came out even, as in `SimilarityWeighted.ties`.
TIES = 1.0
# Names of a side that are shown.
SHOWN = 5


@dataclass(frozen=True)
class TierPair:
    """Who teaches the strong player, who the weak one, and for whom that is.

    Attributes:
        side_of: (n_candidates,), `STRONG`, `WEAK` or `NEITHER`.
        columns: of the strong and the weak candidate that the router will have.
    """

    side_of: Positions
    columns: tuple[int, int]

    def words(self, candidates: tuple[str, ...]) -> str:
        """Who is compared with whom; of many the first few."""
        sides = [
            [name for name, own in zip(candidates, self.side_of, strict=True) if own == side]
            for side in (STRONG, WEAK)
        ]
        few = [", ".join(names[:SHOWN]) + (", …" if names[SHOWN:] else "") for names in sides]
        strong, weak = (candidates[column] for column in self.columns)
        return f"{few[0]} (strong tiers) against {few[1]} (weak tier), for {strong} and {weak}"

    def rows(
        self, outcomes: OutcomeMatrix, *, needed: bool = True
    ) -> tuple[OutcomeMatrix, Positions]:
        """What a matrix of all candidates says of the pair, the strong one first; and from where.

        Queries with both rewards of the pair keep them. Every other comparison of the two sides
        is a row with target and 1 − target as rewards, without tokens or costs. `needed`:
        whether there must be a row.

        Returns:
            rows: (n_rows, 2).
            origin: (n_rows,), the row of `outcomes` that each is of.

        Raises:
            InputError: the sides never met, and the pair has no query of its own.
        """
        pair = on_candidates(outcomes, list(self.columns))
        own = np.asarray(pair.mask.all(axis=1))
        fought = compare(outcomes, needed=False)
        sides = fought.take(~own[fought.row]).between(self.side_of, n_groups=2)
        rows = np.concatenate([np.flatnonzero(own), sides.row])
        if needed and not len(rows):
            raise InputError(
                "no candidate of 'strong_tiers' was compared with one of 'weak_tier': set fewer "
                "'tiers', or name others"
            )
        return concatenate(pair.take(own), as_pair(pair, sides)), rows


def as_pair(pair: OutcomeMatrix, sides: Comparisons) -> OutcomeMatrix:
    """One row a comparison of two players, as the rewards of a pair of candidates."""
    target = np.where(sides.a == STRONG, sides.target, 1 - sides.target)
    rows = replace(pair.take(sides.row), answers=None)
    nothing: FloatMatrix = np.full((len(sides), 2), np.nan)
    return replace(
        rows,
        reward=np.column_stack([target, 1 - target]),
        prompt_tokens=nothing,
        completion_tokens=nothing,
        cost_usd=nothing,
        n_samples=np.ones((len(sides), 2)),
        truncated=np.zeros((len(sides), 2)),
    )


def tier_pair(method: ComparisonMethod, outcomes: OutcomeMatrix) -> TierPair:
    """The sides by the candidates' strengths on these outcomes.

    The pair is the one the method names, or else the strongest of either side.

    Raises:
        InputError: nothing to compare, fewer tiers than are named, or no such candidate.
    """
    everyone = compare(outcomes)
    met = np.unique(np.concatenate([everyone.a, everyone.b]))
    place_of = np.full(len(outcomes.candidates), -1)
    place_of[met] = np.arange(len(met))
    tiers = strength_tiers(
        everyone.between(place_of, n_groups=len(met)), n_tiers=method.tiers, ties=TIES
    )
    side_of_tier = _sides(method, tiers=tiers)
    side_of = np.full(len(outcomes.candidates), NEITHER)
    side_of[met] = side_of_tier[tiers.tier_of]
    if method.strong or method.weak:
        strong, weak = pair_columns(outcomes, strong=method.strong, weak=method.weak)
        return TierPair(side_of, (strong, weak))
    scores = np.full(len(outcomes.candidates), -np.inf)
    scores[met] = tiers.scores
    best = [int(np.argmax(np.where(side_of == side, scores, -np.inf))) for side in (STRONG, WEAK)]
    return TierPair(side_of, (best[0], best[1]))


def _sides(method: ComparisonMethod, *, tiers: Tiers) -> Positions:
    """(n_tiers,): the side of each tier."""
    assert method.weak_tier is not None, "validated"
    last = max(*method.strong_tiers, method.weak_tier)
    if last >= tiers.n_tiers:
        raise InputError(
            f"method '{method.name}': the candidates that were compared make {tiers.n_tiers} tiers "
            f"by strength, and tier {last} is named: set fewer with 'tiers', and 'strong_tiers' "
            "and 'weak_tier' among them"
        )
    sides = np.full(tiers.n_tiers, NEITHER)
    sides[list(method.strong_tiers)] = STRONG
    sides[method.weak_tier] = WEAK
    return sides


def paired_rows(
    method: ComparisonMethod, train: OutcomeMatrix, validation: OutcomeMatrix
) -> tuple[OutcomeMatrix, OutcomeMatrix]:
    """Both as rows of the pair, by the tiers of `train`; as they are where none are to be learned.

    Raises:
        InputError: settings that look at more than differences, or as `tier_pair`.
    """
    if not method.learns_tiers or len(train.candidates) == 2:
        return train, validation
    method.require_differences()
    pair = tier_pair(method, train)
    return pair.rows(train)[0], pair.rows(validation, needed=False)[0]
