"""Cancelling goes on after a server that was away.

Prefect's runner hears of cancelled runs by a websocket, and when that breaks it asks every
`query_seconds`; after three answers in a row that did not come, with ours 6 s, it never asks again,
and a run that is cancelled in the UI goes on to its end. A server that died takes longer to start.
"""

import asyncio
from typing import TYPE_CHECKING

from tasks.report import say

if TYPE_CHECKING:
    from prefect.runner import Runner


async def keep_cancelling(runner: "Runner", *, seconds: float) -> None:
    """Ask for cancelled runs every so many seconds where a runner that has started does not."""
    from httpx import HTTPError

    observer = runner._cancelling_observer
    assert observer is not None
    told = False
    while True:
        await asyncio.sleep(seconds)
        polling = observer._polling_task
        if polling is None or not polling.done():
            continue
        try:
            await observer._check_for_cancelled_flow_runs()  # type: ignore[no-untyped-call]
        except HTTPError as error:
            if not told:
                say(f"runs can be cancelled again once the Prefect server answers ({error})")
            told = True
