"""A candidate that a fitted router has not seen joins it: what any method may rely on."""

from cluster.errors import InputError
from cluster.outcome import OutcomeMatrix
from cluster.plugins import plugin_names
from cluster.routers.router import Router
from cluster.routers.transfer import has_strong_first


def with_candidate(
    router: Router, candidate: str, *, probe: OutcomeMatrix, seed: int = 0
) -> Router:
    """The router with one more candidate, in the last column; the others' predictions stay.

    Args:
        router: fitted without the candidate.
        candidate: its name, a column of `probe`.
        probe: outcomes of the newcomer, and as far as known of the others, on queries that the
            router was or could have been fitted on (`cluster.lake.probe`), never on test rows.
        seed: of everything random.

    Raises:
        InputError: the router knows the candidate already, the probe has no reward of it, or the
            method cannot take one up, or is fitted for a pair, which has no place for a third.
    """
    if candidate in router.candidates:
        raise InputError(f"candidate '{candidate}' is one of the router's already")
    if candidate not in probe.candidates:
        raise InputError(
            f"candidate '{candidate}' has no outcomes in the probe; those that have: "
            f"{', '.join(probe.candidates)}"
        )
    _refuse_pair(router)
    known = probe.take(probe.mask[:, probe.candidates.index(candidate)])
    if not len(known):
        raise InputError(f"candidate '{candidate}' has no reward on any probe: score it first")
    return router.adding(candidate, probe=known, seed=seed)


def _refuse_pair(router: Router) -> None:
    if len(router.candidates) != 2 or router.method not in plugin_names("routers"):
        return
    if has_strong_first(router.method):
        names = " and ".join(f"'{name}'" for name in router.candidates)
        raise InputError(
            f"method {router.method} was fitted for the pair {names} and has learned only what "
            "sets these two apart: there is no place for a third; train a method for several "
            "candidates on outcomes of all three"
        )
