"""The gate: whether a new router may become champion, decided on what could run instead."""

from cluster.jobs.run import Manifest
from cluster.registry import Decision

# A version that is not worse than the champion by more than this, and cheaper, may replace it.
MARGIN = 0.01


def decide(trained: Manifest, *, method: str, champion: str | None) -> Decision:
    """Compare a method with best single, the cost-matched mix and the champion.

    The first champion must beat best single with its interval above zero. Baselines that read the
    task's label are never gated on.

    Args:
        trained: manifest of the train job: the routers' and the champion's headline numbers.
        method: the method that wants to be champion.
        champion: version of the one there is.
    """
    metrics = next(r["metrics"] for r in trained["routers"] if r["method"] == method)
    against = ["lift_over_best_single"]
    if "lift_over_cost_matched_mix" in metrics:
        against.append("lift_over_cost_matched_mix")
    for lift in against:
        if metrics[f"{lift}_low"] <= 0:
            return Decision(promote=False, why=_words(metrics, lift=lift, verdict="is not above 0"))
    if champion is None:
        why = _words(metrics, lift=against[0], verdict="is above 0")
        return Decision(promote=True, why=f"{why}; there was no champion")
    if not trained["champion"]:
        why = (
            f"the champion {champion[:12]} chooses among other candidates than this dataset has, "
            "so the two cannot be compared; promote by hand with 'signalbox registry promote'"
        )
        return Decision(promote=False, why=why)
    return _against_champion(metrics, champion=trained["champion"])


def _against_champion(metrics: dict[str, float], *, champion: dict[str, float]) -> Decision:
    gain = metrics["macro_accuracy"] - champion["macro_accuracy"]
    low = metrics["lift_over_champion_low"]
    words = f"macro accuracy {gain:+.4f} against the champion, 95 % interval from {low:+.4f}"
    if low > 0:
        return Decision(promote=True, why=words)
    cheaper = metrics.get("mean_cost_usd", 0.0) < champion.get("mean_cost_usd", 0.0)
    if cheaper and low > -MARGIN:
        return Decision(promote=True, why=f"{words}: within {MARGIN:g} and cheaper")
    return Decision(promote=False, why=f"{words}: neither better nor as good and cheaper")


def _words(metrics: dict[str, float], *, lift: str, verdict: str) -> str:
    low, high = metrics[f"{lift}_low"], metrics[f"{lift}_high"]
    name = lift.replace("_", " ")
    return f"{name} {metrics[lift]:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}] {verdict}"
