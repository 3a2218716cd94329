"""The gate job: a version against all that could run instead, on a frozen snapshot."""

from typing import ClassVar

from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.price import Price


class GateSpec(JobSpec):
    """What to compare, and how surely.

    Attributes:
        snapshot: name of the frozen test snapshot.
        version, checkpoint: of the router that wants to be champion.
        champion: version and checkpoint of the one there is, or None.
        anchor: version and checkpoint of the last champion that was better than its own, where that
            is another than the champion; else None.
        level: one-sided error rate of every bound.
        margin: how much worse than the champion a cheaper version may be.
        prices: by candidate's name; empty: imported costs, if any.
        inputs: versions of the tables read: what best single and the mix are chosen by.
    """

    job: ClassVar[str] = "gate"

    snapshot: str
    version: str
    checkpoint: str
    champion: tuple[str, str] | None
    anchor: tuple[str, str] | None = None
    level: float
    margin: float
    prices: dict[str, Price]
    inputs: dict[str, int]


def gate(spec: GateSpec, run: Run) -> Manifest:
    """Compare, and decide; the manifest's `how` is empty where the version stays challenger."""
    raise NotImplementedError


if __name__ == "__main__":
    main(GateSpec, work=gate)
