"""The fields that 'calibrate' and 'route' share: which router, and what is to be promised of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.guarantee.bound import BoundName
from flows.params import PricesField


class RouterFields(BaseModel):
    """A registered router, between its own candidates or another pair."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    router: str = Field(
        default="champion",
        title="Router",
        description="A registered version, the beginning of one, or champion",
    )
    strong: str = Field(
        default="",
        title="Strong candidate",
        description="With --weak: route between these two by what the router has learned of its "
        "own strong and weak candidate, without retraining. Empty: the router's candidates",
    )
    weak: str = Field(
        default="", title="Weak candidate", description="The cheap one of the pair; see --strong"
    )
    prices: PricesField = ""


class FloorFields(BaseModel):
    """What policy quality_floor is to promise, and by whose rewards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: float = Field(
        default=0.95,
        gt=0.0,
        le=1.0,
        title="Quality floor",
        description="Of policy quality_floor: share of the reference's mean reward that is to be "
        "kept (0.95 is 95 %). .95 needs about 500 calibration rows, .98 about 1,000, .99 about "
        "2,000",
    )
    delta: float = Field(
        default=0.1,
        gt=0.0,
        lt=1.0,
        title="Delta",
        description="Of policy quality_floor: chance that the calibration sample misleads; 0.1 is "
        "a confidence of 90 %",
    )
    reference: str = Field(
        default="",
        title="Reference",
        description="Of policy quality_floor: name of the candidate whose quality is to be kept. "
        "Empty: the strong one of the pair, or the best on train",
    )
    bound: BoundName = Field(
        default="betting",
        title="Bound",
        description="Of policy quality_floor: betting is true for any number of rows; clt, by "
        "normal approximation, is tighter, true for large samples alone, and needs 30 rows that "
        "differ from the reference",
    )
    scorer: str = Field(
        default="",
        title="Scorer",
        description="Of policy quality_floor: whose rewards count. Empty: the router's own",
    )
    normalisation: Literal["as_trained", "none", "min_max", "z_score", "rank", "sigmoid"] = Field(
        default="as_trained",
        title="Normalisation",
        description="Of policy quality_floor: scale of the rewards, which must have bounds. "
        "as_trained: the router's own; the others as for 'train'",
    )
    reward_max: float = Field(
        default=1.0,
        gt=0.0,
        allow_inf_nan=False,
        title="Greatest reward",
        description="Of policy quality_floor: the greatest reward there can be; the least is 0",
    )


class Wish(FloorFields, RouterFields):
    """What is to be promised, and of which router."""
