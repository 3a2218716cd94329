"""What a calibration leaves: the settings that were tried, what they are worth, and the promise."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from cluster.guarantee.bound import BOUNDS, BoundName
from cluster.guarantee.calibration import Setting
from cluster.guarantee.rows import COPIES
from cluster.normalisation import Normalisation
from cluster.policies.constraints import Constraints
from cluster.policies.quality_floor import QualityFloor
from cluster.price import Price

LIMITS = (
    "It says nothing about one file, one tag, another mix of queries, or errors of the reward "
    "itself, and it does not survive calibrating on rows used for training, selection or promotion."
)


class Calibration(BaseModel):
    """A record in the lake; it is for this router version, these prices and these outcomes alone.

    Attributes:
        id: hash of what was asked and of the rows that counted: the same however often it is made.
        router: version.
        dataset, scorer, normalisation: whose rewards.
        policy: with the certified tau, for the router's candidates.
        bound: what the promise rests on.
        reward_max: the greatest reward there can be; the least is 0.
        prices: by candidate.
        constraints: who may answer.
        rows: calibration rows that counted, one a text.
        effective: so many rows of equal weight would say as much.
        left_out: rows that did not count, by reason.
        missing: by candidate, rows without its reward, which are taken at their worst.
        settings: of the path, the reference alone first, the cheapest last.
        alone: by candidate, its mean reward and USD per 1,000 queries (None where unknown).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    router: str
    dataset: str
    scorer: str
    normalisation: Normalisation
    policy: QualityFloor
    bound: BoundName
    reward_max: float
    prices: dict[str, Price]
    constraints: Constraints
    rows: int
    effective: float
    left_out: dict[str, int]
    missing: dict[str, int]
    settings: tuple[Setting, ...]
    alone: dict[str, tuple[float, float | None]]

    @property
    def chosen(self) -> Setting:
        """The setting that routes."""
        return [one for one in self.settings if one.certified][-1]

    @property
    def certified(self) -> bool:
        """Whether any saving is."""
        return self.policy.tau is not None

    @property
    def saved(self) -> float | None:
        """Share of the first setting's cost that is saved on the calibration rows; None: unknown.

        That is the reference's cost, where it may answer every row.
        """
        usd, before = self.chosen.usd_per_1000, self.settings[0].usd_per_1000
        return None if usd is None or not before else 1 - usd / before

    @property
    def reference_reward(self) -> float:
        """Mean reward of the reference on the calibration rows."""
        first = self.settings[0]
        return first.reward / first.kept if first.kept else first.reward

    @property
    def copies(self) -> float:
        """Share of the calibration rows that repeat the text of another."""
        copies = self.left_out.get(COPIES, 0)
        return copies / (self.rows + copies)

    @property
    def is_priced(self) -> bool:
        """Whether the cost of every setting is known."""
        return all(one.usd_per_1000 is not None for one in self.settings)

    def token_price(self, shares: Mapping[str, float]) -> float:
        """Mean price of a token read and one written, as a share of the reference's.

        What is left to compare by where nobody knows how many tokens there are.
        """
        price = {name: one.input + one.output for name, one in self.prices.items()}
        whole = price[self.policy.reference]
        return sum(share * price[name] for name, share in shares.items()) / whole if whole else 1.0

    @property
    def promise(self) -> str:
        """What may be repeated to others, in words."""
        reference = f"'{self.policy.reference}'"
        if not self.policy.promises:
            return (
                f"No saving certified: on these {self.rows:,} rows no setting could be shown to "
                f"keep {self.policy.floor:g} of the mean reward of {reference} with probability "
                f"{1 - self.policy.delta:g}; everything goes to {reference}."
            )
        about = BOUNDS[self.bound].is_asymptotic
        chance = f"{'about' if about else 'at least'} {1 - self.policy.delta:g}"
        nearly = " (by normal approximation, true for large samples alone)" if about else ""
        return (
            f"With probability {chance} over the calibration sample{nearly}, the mean reward of "
            f"new queries drawn like it, each text once, is at least {self.policy.floor:g} times "
            f"that of {reference}. {self._barred_words}{LIMITS}"
        )

    @property
    def _barred_words(self) -> str:
        if not self.policy.barred:
            return ""
        told = (
            f"By the constraints {100 * self.policy.barred:.3g} % of the calibration rows may not "
            f"go to '{self.policy.reference}', and that is counted. "
        )
        if self.certified:
            return told
        return f"{told}No saving beyond it is certified: everything that may goes there. "

    def policy_settings(self) -> dict[str, Any]:
        """What routes by this record, as settings of the policy `quality_floor`."""
        settings = self.policy.model_dump(mode="json", exclude={"candidates", "settled"})
        return settings | {"promise": self.promise}

    def table(self) -> list[dict[str, Any]]:
        """A line a setting, for people."""
        return [
            {
                "tau": self.label(one),
                "USD per 1,000": None if one.usd_per_1000 is None else f"{one.usd_per_1000:.4g}",
                "token price %": f"{100 * self.token_price(one.shares):.1f}",
                "mean reward": f"{one.reward:.4g}",
                "kept %": f"{100 * one.kept:.1f}",
                "at least %": f"{100 * one.at_least:.1f}",
                "elsewhere %": f"{100 * one.elsewhere:.1f}",
                "verdict": self._verdict(one),
            }
            for one in self.settings
        ]

    def label(self, setting: Setting) -> str:
        """What a setting is called."""
        if setting.tau is not None:
            return f"{setting.tau:.4g}"
        return "reference where it may" if self.policy.barred else "reference alone"

    def _verdict(self, setting: Setting) -> str:
        if setting == self.chosen:
            return "chosen"
        if not setting.decided:
            return "too few differ"
        return "yes" if setting.certified else "no"
