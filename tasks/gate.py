"""The gate and the admission of labels as steps of a flow."""

from cluster.gate.admission import Admission
from cluster.gate.decision import Decision
from cluster.gate.rules import AdmissionRules, GateRules
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.normalisation import Normalisation
from cluster.price import Prices

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


def gate(
    version: str,
    *,
    snapshot: str,
    lake: Lake,
    prices: Prices,
    address: str,
    rules: GateRules | None = None,
) -> Decision:
    """Make a registered version champion if it passes the gate; the decision, promoted or not.

    One look at the snapshot is spent, whatever comes out; none where the same comparison was made
    before. When another run promotes meanwhile, the version is compared with the new champion,
    which is another look.

    Args:
        version: of a registered router.
        snapshot: name of a frozen snapshot (`cluster.gate.snapshot`).
        lake: where all of it is.
        prices: by candidate's name.
        address: of Ray's dashboard, where the comparison runs as a job.
        rules: what is promised; None: the defaults.
    """
    raise NotImplementedError


def admit(
    night: str,
    *,
    snapshot: str,
    lake: Lake,
    dataset: str,
    scorer: str,
    before: dict[str, int],
    address: str,
    normalisation: Normalisation = "none",
    temperature: float = 1.0,
    rules: AdmissionRules | None = None,
) -> list[Admission]:
    """Look at the labels that are new since `before`, batch by batch, and keep out what does not
    fit; events in the lake say so. Rewards that are kept out are not in `outcomes` from then on.

    Asked again for the same night, it finds the same.

    Args:
        night: its name, such as its date.
        snapshot: name of a frozen snapshot.
        lake: where the labels are.
        dataset, scorer, normalisation, temperature: whose labels.
        before: `lake.versions((REWARDS,))` from before the night's first new label.
        address: of Ray's dashboard.
        rules: what is promised; None: the defaults.
    """
    raise NotImplementedError
