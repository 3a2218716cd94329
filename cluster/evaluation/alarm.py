"""A router that has collapsed: it sends nearly everything to one candidate, and need not.

Routers collapse onto the strongest candidate when nothing in their training rewards the order of
the others. Accuracy hides it: a collapsed router is as good as best single.

That a router sends nearly all to one candidate is no fault where that one is best, or where nobody
can tell on which queries it is not. On how many queries some other candidate scored more says
nothing: of equally good candidates with right and wrong answers by chance, another one did better
on half of the queries. So the alarm asks for another way that is there to be taken: a method that
was fitted as this one was, sends many queries elsewhere, among candidates that this one knows too,
and earns more by it on the same queries than chance explains.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cluster.evaluation.baselines import one_hot
from cluster.outcome import BoolMatrix, FloatMatrix

# Fewer than one query in twenty goes elsewhere. A router that is right about each of them still
# moves the mean by less than .05 times the gain on them, within the interval of most test sets.
COLLAPSED = 0.95
# Four times what a collapsed router sends elsewhere, at most: there really is another way.
SPREAD = 0.20
# Standard errors of the gain that count as more than chance: some thirty methods are looked at.
SURE = 3.0


def collapse_alarms(
    routes: Mapping[str, FloatMatrix],
    *,
    methods: Sequence[str],
    alternatives: Sequence[str],
    reward: FloatMatrix,
    candidates: Sequence[str],
    known: Mapping[str, BoolMatrix] | None = None,
) -> Iterator[str]:
    """A sentence for each method that has collapsed though another way earns more.

    Args:
        routes: by method, (n_queries, n_candidates).
        methods: those that are looked at.
        alternatives: methods that know no more of the measured rewards than those do.
        reward: (n_queries, n_candidates), of the measured queries.
        candidates: names, the order of the columns.
        known: by method, (n_candidates,), whom it can choose; all, where nothing is said.
    """
    for method in methods:
        shares = routes[method].mean(axis=0)
        favourite = int(shares.argmax())
        if shares[favourite] < COLLAPSED:
            continue
        unknown = ~known[method] if known and method in known else np.zeros(len(shares), dtype=bool)
        alone = one_hot(np.full(len(reward), favourite), n_candidates=len(candidates))
        found = [
            (*gain_over(alone, route=routes[name], reward=reward), name)
            for name in alternatives
            if 1 - routes[name][:, favourite].mean() >= SPREAD
            and not routes[name][:, unknown].any()
        ]
        certainty, gain, other = max(found, default=(0.0, 0.0, ""))
        if certainty >= SURE:
            elsewhere = 1 - routes[other][:, favourite].mean()
            yield (
                f"{method} has collapsed: {shares[favourite]:.1%} of the queries go to "
                f"{candidates[favourite]}; {other} sends {elsewhere:.0%} elsewhere and earns "
                f"{gain:.3g} more a query by it"
            )


def gain_over(base: FloatMatrix, *, route: FloatMatrix, reward: FloatMatrix) -> tuple[float, float]:
    """How many standard errors a route earns more than another, and how much, mean over queries.

    The error is that of no gain at all, sqrt(sum of squared differences) / n. For right and wrong
    answers this is McNemar's test: nine queries won and none lost are three standard errors.

    Args:
        base, route: (n_queries, n_candidates).
        reward: (n_queries, n_candidates).
    """
    difference = np.einsum("ij,ij->i", route - base, reward)
    spread = float(np.sqrt(difference @ difference))
    total = float(difference.sum())
    return (total / spread if spread > 0 else 0.0), total / len(difference)
