"""What a calibration is to do."""

from importlib.metadata import version
from typing import ClassVar

from cluster.guarantee.bound import BoundName
from cluster.jobs.spec import JobSpec
from cluster.normalisation import Normalisation
from cluster.policies.constraints import Constraints
from cluster.price import Price
from cluster.query import digest
from cluster.storage import Storage

FOLDER = "calibrations"
# Of the fields and words of a record: one of another form is made anew.
FORM = 2


class CalibrateSpec(JobSpec):
    """What to calibrate, and on what.

    Attributes:
        router, checkpoint: version, and where it lies.
        strong, weak: another pair that the router's own pair speaks for; both empty for none.
        dataset, scorer, normalisation, temperature: whose outcomes, under which label.
        reward_max: the greatest reward there can be; the least is 0.
        inputs: versions of the tables read.
        prices: by candidate's name.
        constraints: who may answer, as when the router will be used.
        floor, delta, bound: what is to be promised.
        reference: whose quality; empty: the strong one of the pair, or the best on train.
        output: folder for the page and the picture; empty: beside the record.
    """

    job: ClassVar[str] = "calibrate"

    router: str
    checkpoint: str
    strong: str = ""
    weak: str = ""
    dataset: str
    scorer: str
    normalisation: Normalisation = "none"
    temperature: float = 1.0
    reward_max: float = 1.0
    inputs: dict[str, int]
    prices: dict[str, Price]
    constraints: Constraints = Constraints()
    floor: float
    delta: float
    bound: BoundName = "betting"
    reference: str = ""
    output: str = ""

    @property
    def wish(self) -> str:
        """All that is asked, whatever the tables hold."""
        return self.model_dump_json(exclude={"inputs", "output"})

    @property
    def record_id(self) -> str:
        """Identity of the record: where its page is shown makes no other one."""
        return digest([version("signalbox"), FORM, self.model_dump_json(exclude={"output"})])[:16]

    @property
    def record_uri(self) -> str:
        """Where the record is."""
        return Storage.at(self.lake).join(FOLDER, f"{self.record_id}.json")
