"""The process of `signalbox up` that takes runs from the Prefect server and starts them.

Run as `python -m flows.services.served`; told what to serve by one line of JSON on standard input,
it answers with a line on standard output once the server knows the deployments, and ends, with all
runs it has started, on SIGTERM.
"""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from cluster.lake.lake import LAKE_VARIABLE
from cluster.ray_cluster import ADDRESS_VARIABLE
from flows.deployments import DEPLOYMENTS, NIGHTLY
from flows.services.given import Given, last_given, make_known, remember
from flows.services.keep_cancelling import keep_cancelling
from flows.services.left_over import end_left_over
from flows.services.nights import nightly_words
from tasks.report import say

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.runner import Runner

READY = "ready"
RUNNER = "signalbox"
# A run that was asked for in the UI begins within this time, as far as this process is concerned.
POLL_SECONDS = 2.0
# The command says in between where the UI is.
AFTER_ADDRESS_SECONDS = 0.5


class Serving(BaseModel):
    """What the deployments work on.

    Attributes:
        given: what `up` gives them; without nightly parameters, what it gave before stays.
        ray_address: dashboard address of the Ray cluster of runs that name no other.
        limit: runs at a time.
        own_server: whether the server has no other runs than those of `up`.
    """

    model_config = ConfigDict(frozen=True)

    given: Given
    ray_address: str
    limit: int
    own_server: bool


def main() -> None:
    """Read what to serve, and serve it."""
    answers = _answers_alone()
    serving = Serving.model_validate_json(sys.stdin.readline())
    os.environ[LAKE_VARIABLE] = serving.given.lake
    os.environ[ADDRESS_VARIABLE] = serving.ray_address
    asyncio.run(_serve(serving, answers=answers))


def _answers_alone() -> TextIO:
    """The pipe to the command; all else that is written to standard output goes to standard error.

    Runs write there, and Prefect hands it on.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


async def _serve(serving: Serving, *, answers: TextIO) -> None:
    """Make the deployments known and run what is asked for, until SIGTERM."""
    from prefect.client.orchestration import get_client
    from prefect.runner import Runner

    runner = Runner(
        name=RUNNER, query_seconds=POLL_SECONDS, pause_on_shutdown=False, limit=serving.limit
    )
    async with get_client() as client:
        known = await _make_all_known(serving.given, runner=runner, client=client)
        if serving.own_server:
            await end_left_over(client, known)
    running = asyncio.create_task(runner.start())
    while not (runner.started or running.done()):
        await asyncio.sleep(0.05)
    # After Prefect's own, which holds up the very loop it then waits for.
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    answers.write(f"{READY}\n")
    answers.flush()
    beside = [_tell_of_nights(), keep_cancelling(runner, seconds=POLL_SECONDS)]
    asides = [asyncio.create_task(each) for each in beside]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        await runner.astop()
    for each in (stopping, *asides):
        each.cancel()
    await running


async def _tell_of_nights() -> None:
    """Say when `retrain` runs next; runs do not wait for the word, and go on without it."""
    from httpx import HTTPError
    from prefect.client.orchestration import get_client

    await asyncio.sleep(AFTER_ADDRESS_SECONDS)
    try:
        async with get_client() as client:
            say(await nightly_words(client))
    except HTTPError as error:
        say(f"the Prefect server did not say when {NIGHTLY} runs next: {error}")


async def _make_all_known(given: Given, *, runner: "Runner", client: "PrefectClient") -> list[UUID]:
    """Let the server know all deployments; returns their ids."""
    before = await last_given()
    if not given.nightly:
        given = given.model_copy(update={"nightly": before.nightly})
    known = [
        await make_known(each, runner=runner, client=client, given=given, before=before)
        for each in DEPLOYMENTS
    ]
    await remember(given)
    return known


if __name__ == "__main__":
    main()
