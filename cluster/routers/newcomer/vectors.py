"""Trained networks: a vector for the newcomer beside the others', everything else as it was.

The queries' side of the network is frozen, and so is every other candidate's vector. The newcomer's
is placed by what the probes say of its reward beside the others', and held near the mean of theirs:
the probes are few and a vector is long. Each method says what it is placed by.

Each probe counts for the queries of its task that it stands for, and a task for its probes, which
are drawn evenly over the tasks: a small task would otherwise hardly be heard. On RouterDC's train
rows that gained 0.1 to 1.1 points of the macro average.
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logsumexp

from cluster.errors import InputError
from cluster.normalisation import TO_UNIT
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.newcomer.own_part import (
    add_macro_mean,
    expected_rewards,
    own_parts,
    task_by_task,
)
from cluster.routers.scale import Line, SharedScale
from cluster.routers.strong_weak import on_candidates

if TYPE_CHECKING:
    from cluster.routers.mf import MatrixFactorisationRouter
    from cluster.routers.multihead import MultiheadRouter
    from cluster.routers.network import NetworkRouter
    from cluster.routers.routerdc import RouterDCRouter
    from cluster.routers.zooter import ZooterRouter

# Of a candidate's vector against the mean of the others': four answers on one query count as much.
VECTOR_PENALTY = 1.0
# The same where queries are long and the vectors short; on RouterDC's train rows anything from 0.1
# to 1 did as well.
ROW_PENALTY = 0.3
# Of a shift in rewards: a candidate's mean is within a quarter of the others', as a rule.
SHIFT_PENALTY = 4.0


def add_to_multihead(
    router: "MultiheadRouter", candidate: str, *, probe: OutcomeMatrix
) -> "NetworkRouter":
    """The candidates' vectors and biases with one more, near the mean of the others'.

    By soft cross-entropy, the method's loss, with rewards less what the others' surprise explains:
    a newcomer would otherwise seem good where the probes were easier than they look. On RouterDC's
    train rows, four weak candidates and a strong newcomer, the router gained 6.5 points with that
    and 5.4 without.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    require_unit_rewards(candidate, probe=probe)
    reward = expected_rewards(router, candidate, probe=probe)
    reduce = router.head["reduce.weight"].astype(np.float64)
    queries = router.embed(probe.texts).astype(np.float64) @ reduce.T
    placed = place_candidate(
        with_ones(queries),
        np.clip(reward, 0.0, 1.0),
        weight=task_by_task(probe),
        others=weights_of(router, "candidates", "bias"),
    )
    rows = {"candidates": placed[:-1], "bias": placed[-1]}
    return with_rows(router, candidate, rows=rows, scale=router.scale, probe=probe)


def add_to_zooter(
    router: "ZooterRouter", candidate: str, *, probe: OutcomeMatrix
) -> "NetworkRouter":
    """The classifier with one more row, which brings it nearest to the probes' distributions.

    With the others' logits z_c fixed, KL(s* ‖ Z) is but for a constant the cross-entropy of the
    newcomer's s* and sigmoid(z_new − log sum over c of e^{z_c}), c the others whose reward is
    known. A probe where none is says nothing. The rewards' scale and the tags' distributions in s*
    are those of the probes: of the training rows none are left.
    """
    names = [name for name in router.candidates if name in probe.candidates]
    rows = on_candidates(probe, [probe.candidates.index(name) for name in (*names, candidate)])
    share, known = router.distributions(rows)
    told = known[:, :-1].any(axis=1)
    scores = router.scores(probe.texts)[:, [router.candidates.index(name) for name in names]]
    placed = place_candidate(
        with_ones(router.embed(probe.texts).astype(np.float64))[told],
        share[told, -1],
        weight=task_by_task(probe)[told],
        others=weights_of(router, "classifier.weight", "classifier.bias"),
        offset=logsumexp(scores[told], axis=1, b=known[told, :-1]),
        penalty=ROW_PENALTY,
    )
    weights = {"classifier.weight": placed[:-1], "classifier.bias": placed[-1]}
    return with_rows(router, candidate, rows=weights, scale=router.scale, probe=probe)


def add_to_mf(
    router: "MatrixFactorisationRouter", candidate: str, *, probe: OutcomeMatrix
) -> "NetworkRouter":
    """The candidates' vectors with one more; see `with_line`.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    queries = router.embed(probe.texts).astype(np.float64) * router.head["readout"]
    return with_line(router, candidate, queries=queries, probe=probe)


def add_to_routerdc(
    router: "RouterDCRouter", candidate: str, *, probe: OutcomeMatrix
) -> "NetworkRouter":
    """The candidates' vectors with one more; see `with_line`.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    queries = unit(router.embed(probe.texts).astype(np.float64))
    return with_line(router, candidate, queries=queries, probe=probe)


def with_line(
    router: "NetworkRouter", candidate: str, *, queries: FloatMatrix, probe: OutcomeMatrix
) -> "NetworkRouter":
    """A router whose candidates are vectors of length 1, with one more and its line to rewards.

        reward(q, new) = offset + shift + slope · v · x(q)

    by least squares on the newcomer's expected rewards, v near the mean of the others' vectors and
    the shift near 0. Offset and slope are those of the scale that all share. Of v the network keeps
    the direction, and the newcomer's own line the length and the shift. A vector of length 1 alone
    could not do it: the space was trained without the newcomer, and where an average candidate's
    vector points to one of its tasks, nobody could ever be expected to be better there.

    Rewards and not the method's loss: RouterDC's sample–LLM loss asks only who is among the best
    three, and on RouterDC's train rows what was placed by it lost up to 5 points of the macro
    average where this loses 1.2. Comparisons with each of the others, `mf`'s loss, gain as much;
    but a hundred of the others' answers are noise as well, and what the router expects of them is
    known better.

    Args:
        queries: (n_probe, d), x.

    Raises:
        InputError: a reward is not between 0 and 1.
    """
    require_unit_rewards(candidate, probe=probe)
    scale, mean = router.scale, unit(weights_of(router, "candidates")).mean(axis=0)
    expected = expected_rewards(router, candidate, probe=probe)
    design, weight = with_ones(scale.slope * queries), task_by_task(probe)
    left = expected - scale.offset - design[:, :-1] @ mean
    penalty = np.append(np.full(len(mean), ROW_PENALTY), SHIFT_PENALTY)
    weighted = design.T * weight
    found = np.linalg.solve(weighted @ design + np.diag(penalty), weighted @ left)
    vector, length = mean + found[:-1], float(np.linalg.norm(mean + found[:-1]))
    line = Line(scale.offset + float(found[-1]), scale.slope * length)
    return with_rows(
        router, candidate, rows={"candidates": vector}, scale=scale.with_line(line), probe=probe
    )


def require_unit_rewards(candidate: str, *, probe: OutcomeMatrix) -> None:
    """Refuse what methods that are trained on rewards between 0 and 1 cannot take.

    Raises:
        InputError: a reward of the newcomer is not between 0 and 1.
    """
    reward = probe.reward[:, probe.candidates.index(candidate)]
    if reward.min() < 0 or reward.max() > 1:
        raise InputError(
            f"candidate '{candidate}': rewards from {reward.min():g} to {reward.max():g}, expected "
            f"0 to 1; use {TO_UNIT}"
        )


def place_candidate(
    queries: FloatMatrix,
    share: FloatMatrix,
    *,
    weight: FloatMatrix,
    others: FloatMatrix,
    offset: FloatMatrix | float = 0.0,
    penalty: float = VECTOR_PENALTY,
) -> FloatMatrix:
    """(d,): the vector v that minimises soft cross-entropy + penalty / 2 · |v − mean|².

    Args:
        queries: (n, d).
        share: (n,), in [0, 1], what sigmoid(v · query − offset) ought to be.
        weight: (n,) how much each row counts.
        others: (n_candidates, d), whose mean is what is expected before anything is seen.
        offset: (n,).
        penalty: of the distance from the mean.
    """
    from scipy.optimize import minimize

    mean = others.mean(axis=0)
    if not len(queries):
        return np.asarray(mean)
    scaled = weight / weight.mean()

    def loss(vector: FloatMatrix) -> tuple[float, FloatMatrix]:
        logit, away = queries @ vector - offset, vector - mean
        entropy = np.logaddexp(0.0, logit) - share * logit
        slope = queries.T @ (scaled * (expit(logit) - share))
        return float(scaled @ entropy + 0.5 * penalty * (away @ away)), slope + penalty * away

    return np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B").x)


def with_ones(queries: FloatMatrix) -> FloatMatrix:
    """(n, d + 1): a column of ones behind, for the bias."""
    return np.column_stack([queries, np.ones(len(queries))])


def unit(rows: FloatMatrix) -> FloatMatrix:
    """(n, d): the rows at length 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: FloatMatrix = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return scaled


def weights_of(router: "NetworkRouter", *names: str) -> FloatMatrix:
    """(n_candidates, d): these weights of the head, one beside the other."""
    return np.column_stack([router.head[name].astype(np.float64) for name in names])


def with_rows(
    router: "NetworkRouter",
    candidate: str,
    *,
    rows: dict[str, FloatMatrix],
    scale: SharedScale,
    probe: OutcomeMatrix,
) -> "NetworkRouter":
    """The router with one more row in these weights of the head, and the macro mean of tokens."""
    wider = {
        name: np.concatenate([known, np.asarray(rows[name], known.dtype)[None]])
        for name, known in router.head.items()
        if name in rows
    }
    tokens = own_parts(router, candidate, probe=probe)[1]
    return type(router)(
        (*router.candidates, candidate),
        settings=router.settings,
        encoder=router.encoder,
        head={**router.head, **wider},
        scale=scale,
        completion_tokens=add_macro_mean(router.completion_tokens, part=tokens, probe=probe),
    )
