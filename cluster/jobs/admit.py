"""The admit job: a night's new labels, batch by batch, against what was expected of them."""

from typing import ClassVar

from cluster.gate.rules import AdmissionRules
from cluster.jobs.run import Manifest, Run, main
from cluster.jobs.spec import JobSpec
from cluster.normalisation import Normalisation


class AdmitSpec(JobSpec):
    """Which labels to look at.

    Attributes:
        night: names the batches, with the source of their queries.
        dataset, scorer, normalisation, temperature: whose labels.
        snapshot: name of the frozen snapshot whose labels say how well labels usually agree.
        champion: version and checkpoint of the router whose predictions are what is expected;
            None: the mean of the query's task and candidate in earlier labels.
        before: versions of the tables before the night: what is there at `inputs` and was not at
            these is new.
        inputs: versions of the tables read.
        rules: what is promised.
    """

    job: ClassVar[str] = "admit"

    night: str
    dataset: str
    scorer: str
    normalisation: Normalisation = "none"
    temperature: float = 1.0
    snapshot: str
    champion: tuple[str, str] | None
    before: dict[str, int]
    inputs: dict[str, int]
    rules: AdmissionRules = AdmissionRules()


def admit_night(spec: AdmitSpec, run: Run) -> Manifest:
    """Look at every batch; the manifest's `admissions` are `Admission.as_json` of each."""
    raise NotImplementedError


if __name__ == "__main__":
    main(AdmitSpec, work=admit_night)
