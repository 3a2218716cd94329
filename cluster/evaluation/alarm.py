"""A router that has collapsed: it sends nearly everything to one candidate, and need not.

Routers collapse onto the strongest candidate when nothing in their training rewards the order of
the others. Accuracy hides it: a collapsed router is as good as best single.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cluster.outcome import FloatMatrix

# Fewer than one query in twenty goes elsewhere. A router that is right about each of them still
# moves the mean by less than .05 times the gain on them, within the interval of most test sets.
COLLAPSED = 0.95
# Four times what a collapsed router sends elsewhere, at most: there really is another way.
SPREAD = 0.20


def collapse_alarms(
    routes: Mapping[str, FloatMatrix],
    *,
    methods: Sequence[str],
    reference: str,
    reward: FloatMatrix,
    candidates: Sequence[str],
) -> Iterator[str]:
    """A sentence for each method that has collapsed though there is something to route.

    Args:
        routes: by method, (n_queries, n_candidates).
        methods: those that are looked at.
        reference: a method in `routes` that knows more and spreads the queries, if it does.
        reward: (n_queries, n_candidates): on how many queries another candidate is better.
        candidates: names, the order of the columns.
    """
    best = reward.max(axis=1)
    spread = routes[reference].mean(axis=0)
    for method in methods:
        shares = routes[method].mean(axis=0)
        favourite = int(shares.argmax())
        elsewhere = 1 - float(spread[favourite])
        better = float(np.mean(best > reward[:, favourite]))
        if shares[favourite] >= COLLAPSED and max(elsewhere, better) >= SPREAD:
            yield (
                f"{method} has collapsed: {shares[favourite]:.1%} of the queries go to "
                f"{candidates[favourite]}; {reference} sends {elsewhere:.0%} elsewhere, and on "
                f"{better:.0%} another candidate is better"
            )
