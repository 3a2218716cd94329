"""Which versions of the rewards nights may ask for again."""

from pathlib import Path

from cluster.gate.admitted import note_night
from cluster.lake.lake import Lake
from cluster.nightly.night import Night
from cluster.nightly.remembered import remembered_rewards


def test_a_lake_without_nights_remembers_nothing(tmp_path: Path) -> None:
    assert remembered_rewards(Lake.open(tmp_path)) == {}


def test_what_was_looked_at_counts_for_every_dataset_and_scorer(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    for number in (3, 5, 7):
        note_night(lake, night=f"a-{number}", dataset="one", scorer_id="s", rewards=number)
    note_night(lake, night="b-1", dataset="two", scorer_id="s", rewards=4)
    assert remembered_rewards(lake) == {5: "night a-5", 7: "night a-7", 4: "night b-1"}


def test_every_series_keeps_what_its_last_nights_began_with_and_trained_on(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)

    def night(series: str, *, began: int) -> Night:
        return Night.open(lake, series=series, begin=lambda _: {"rewards": began})

    for number in range(3):
        night("a", began=10 * number).finish({"rewards_version": 10 * number + 1})
    night("b", began=7)
    assert remembered_rewards(lake) == {
        10: "night a-2",
        11: "night a-2",
        20: "night a-3",
        21: "night a-3",
        7: "night b-1",
    }
