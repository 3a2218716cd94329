"""The time by which files are old: the store's, which has dated them."""

import time
from datetime import UTC, datetime

from cluster.errors import LakeError
from cluster.lake.lake import Lake

FOLDER, PROBE = "clock", "probe"
# Clocks that are kept differ by less than a second; one that is off by a time zone or more is
# wrong, and whoever goes by age with it deletes what is new.
MOST_SECONDS_APART = 3600


def store_time(lake: Lake) -> float:
    """What the store says is the time, in seconds since 1970: when it has written an object now."""
    uri = lake.storage.join(FOLDER, PROBE)
    lake.storage.write(uri, b"")
    (entry,) = lake.storage.entries(uri)
    lake.storage.delete(uri)
    return entry.modified


def agreed_time(lake: Lake) -> float:
    """The store's time, with which this machine's agrees.

    Raises:
        LakeError: they are more than an hour apart, so that one of them is wrong.
    """
    there, here = store_time(lake), time.time()
    if abs(there - here) > MOST_SECONDS_APART:
        raise LakeError(
            f"{lake.storage.uri}: by the store's clock it is {_told(there)}, by this machine's "
            f"{_told(here)}; one of them is wrong, and what is old cannot be told, so nothing is "
            "deleted; set the clock right and run again"
        )
    return there


def _told(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
