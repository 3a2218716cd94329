"""Bradley–Terry strengths of a few players, for many sets of comparisons at once.

    P(i beats j) = sigmoid(xi_i − xi_j)

Each set of weighted win counts has its own strengths. They are the minimum of a convex function,
found by Newton's method on all sets together: a step is one batched solve of small systems.
"""

import numpy as np
from scipy.special import expit, logit

from cluster.outcome import FloatMatrix

# 41 were the most of a million sets at random, of up to 10,000 wins against one tie; 4 to 20 the
# mean. Where rounding alone makes longer steps than the smallest that counts, there is no more to
# be had.
MAX_ROUNDS = 100
SMALL_STEP = 1e-9
# Where a start is far off, the curvature is next to nothing and a whole step would fly past the
# minimum to where it is less still. Of two players whole steps come nearer within a distance of
# 2.18, where sinh(x) = 2x; a step of 1 for each never leaves it again.
LONGEST_STEP = 1.0
# Of the mean curvature: where one player's is below the rounding of another's, a system would
# otherwise be singular. It makes steps shorter and leaves the minimum where it is.
FLOOR = 1e-12


def strengths(wins: FloatMatrix, *, ties: float, start: FloatMatrix | None = None) -> FloatMatrix:
    """(n, n_players): the strengths of each set, which add up to 0.

    The minimum over xi of

        sum over i ≠ j of (wins_ij + ties / 2) · log(1 + e^{xi_j − xi_i})

    where `ties` further comparisons of every two players came out even. They draw the strengths
    together where little is known, and make them finite where somebody never lost.

    Args:
        wins: (n, n_players, n_players), [q, i, j] is the weight with which i beat j in set q; the
            diagonal does not count.
        ties: above 0.
        start: (n_players,) or (n, n_players), where to begin; the result does not depend on it
            beyond 1e-8.
    """
    assert ties > 0, "without a prior the strengths may be infinite"
    n, n_players = wins.shape[:2]
    counts = (wins + ties / 2) * (1 - np.eye(n_players))
    if n_players < 2:
        return np.zeros((n, n_players))
    if n_players == 2:
        return closed_form(counts)
    found: FloatMatrix = np.broadcast_to(0.0 if start is None else start, (n, n_players)).copy()
    found -= found.mean(axis=1, keepdims=True)
    left = np.arange(n)
    for _ in range(MAX_ROUNDS):
        if not len(left):
            break
        step = newton_step(found[left], counts[left])
        found[left] += step
        left = left[np.abs(step).max(axis=1) > SMALL_STEP]
    return found


def closed_form(counts: FloatMatrix) -> FloatMatrix:
    """(n, 2): of two players, whose chances are their shares of the wins."""
    share = counts[:, 0, 1] / (counts[:, 0, 1] + counts[:, 1, 0])
    half: FloatMatrix = logit(share) / 2
    return np.column_stack([half, -half])


def newton_step(xi: FloatMatrix, counts: FloatMatrix) -> FloatMatrix:
    """(n, n_players): −H⁻¹ g, cut short. A common shift, which changes nothing, is never made."""
    chance = expit(xi[:, :, None] - xi[:, None, :])
    meetings = counts + counts.transpose(0, 2, 1)
    gradient = (meetings * chance - counts).sum(axis=2)
    curvature = meetings * chance * chance.transpose(0, 2, 1)
    along = curvature.sum(axis=2)
    n_players = xi.shape[1]
    hessian = along[:, :, None] * np.eye(n_players) - curvature
    size = along.mean(axis=1)[:, None, None]
    hessian += size * (1 / n_players + FLOOR * np.eye(n_players))
    step = -np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
    step -= step.mean(axis=1, keepdims=True)
    longest = np.abs(step).max(axis=1, keepdims=True)
    short: FloatMatrix = step / np.maximum(longest / LONGEST_STEP, 1.0)
    return short


def losses(xi: FloatMatrix, counts: FloatMatrix) -> FloatMatrix:
    """(n,): the sum over i ≠ j of counts_ij · log(1 + e^{xi_j − xi_i})."""
    surprise = np.logaddexp(0.0, xi[:, None, :] - xi[:, :, None])
    total: FloatMatrix = (counts * surprise).sum(axis=(1, 2))
    return total
