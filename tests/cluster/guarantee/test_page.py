"""The page of a calibration: names as they are, nothing fetched, the promise in its own words."""

from cluster.guarantee.calibration import Setting
from cluster.guarantee.page import page
from cluster.guarantee.picture import picture
from cluster.guarantee.record import Calibration
from cluster.guarantee.rows import COPIES
from cluster.policies.constraints import Constraints
from cluster.policies.quality_floor import QualityFloor
from cluster.price import Price

ODD = "<b>cheap</b> $x_1"


def setting(tau, *, share: float, certified: bool, usd: float | None = None) -> Setting:
    return Setting(
        tau=tau,
        usd_per_1000=usd,
        reward=0.8 - 0.1 * share,
        kept=1 - share / 8,
        at_least=0.99 - share / 8,
        certified=certified,
        elsewhere=share,
        shares={"dear": 1 - share, ODD: share},
    )


def record(*, tau: float | None = 0.1, priced: bool = True, **changes) -> Calibration:
    usd = (10.0, 5.0, 1.0) if priced else (None, None, None)
    policy = QualityFloor(floor=0.95, reference="dear", tau=tau).among(("dear", ODD))
    known = {
        "id": "abc",
        "router": "0123456789abcdef",
        "dataset": "toy & more",
        "scorer": "accuracy",
        "normalisation": "none",
        "policy": policy,
        "bound": "betting",
        "reward_max": 1.0,
        "prices": {"dear": Price(input=10, output=10), ODD: Price(input=1, output=1)},
        "constraints": Constraints(),
        "rows": 1234,
        "effective": 1234.0,
        "left_out": {"repeat a text": 3},
        "missing": {ODD: 7},
        "settings": (
            setting(None, share=0.0, certified=True, usd=usd[0]),
            setting(0.1, share=0.5, certified=tau is not None, usd=usd[1]),
            setting(0.9, share=1.0, certified=False, usd=usd[2]),
        ),
        "alone": {"dear": (0.8, usd[0]), ODD: (0.7, usd[2])},
    }
    return Calibration(**(known | changes))


def test_the_promise_stands_as_it_was_agreed() -> None:
    words = record().promise
    assert words.startswith(
        "With probability at least 0.9 over the calibration sample, the mean reward of new queries "
        "drawn like it, each text once, is at least 0.95 times that of 'dear'. It says nothing "
        "about one file, one tag, another mix of queries, or errors of the reward itself, and it "
        "does not survive calibrating on rows used for training, selection or promotion."
    )
    assert record(bound="clt").promise.startswith("With probability about 0.9 over")
    assert record(tau=None).promise.startswith("No saving certified")
    assert record(tau=None).chosen.tau is None


def test_a_page_shows_names_as_they_are_and_fetches_nothing() -> None:
    told = page(record()).decode()
    assert "<b>cheap" not in told
    assert "&lt;b&gt;cheap&lt;/b&gt; $x_1" in told
    assert "toy &amp; more" in told
    assert "3 that repeat a text" in told
    assert told.count('class="chosen"') == 1
    assert 'src="http' not in told
    assert "<script" not in told


def test_many_copies_are_warned_of() -> None:
    warning = "% of the calibration rows repeat a text. The promise counts each text once"
    assert warning not in page(record(left_out={COPIES: 20})).decode()
    told = page(record(left_out={COPIES: 780})).decode()
    assert f"39 {warning}" in told


def test_what_is_saved_is_told_in_money_or_by_the_price_of_a_token() -> None:
    assert record().saved == 0.5
    assert "USD per 1,000 queries" in page(record()).decode()
    plain = record(priced=False)
    assert plain.saved is None
    assert plain.token_price(plain.chosen.shares) == 0.55
    assert "price of a token" in page(plain).decode()


def test_every_kind_of_record_has_a_picture() -> None:
    kinds = [record(), record(tau=None), record(priced=False), record(bound="clt")]
    assert len({picture(one) for one in kinds[:3]}) == 3
    assert all(picture(one).startswith(b"\x89PNG") for one in kinds)


def test_the_settings_that_route_are_read_back_as_they_were() -> None:
    one = record()
    again = QualityFloor(**one.policy_settings()).among(("dear", ODD))
    assert again.tau == one.policy.tau
    assert again.promise == one.promise
    assert Calibration.model_validate_json(one.model_dump_json()) == one
