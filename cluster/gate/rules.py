"""What the gate and the admission of labels promise; all commands use the defaults."""

from pydantic import BaseModel, ConfigDict, Field


class GateRules(BaseModel):
    """What the gate promises.

    Attributes:
        alpha: chance that, over all looks at one snapshot, any version is promoted that is not
            better than what it was held against (or worse than the margin, where it is cheaper).
        horizon: looks a snapshot is good for: one a night that has a new version.
        margin: how much worse in reward than the champion a cheaper version may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    horizon: int = Field(default=60, ge=1)
    margin: float = Field(default=0.01, ge=0)


class AdmissionRules(BaseModel):
    """What the admission of labels promises.

    Attributes:
        alpha: chance that, over the horizon, any batch is refused whose labels still agree with
            what is expected at least `least` times as much as the snapshot's do.
        horizon: nights.
        least: share of the usual agreement that is enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    horizon: int = Field(default=60, ge=1)
    least: float = Field(default=0.5, gt=0, lt=1)
