"""A Prefect server for the tests of this folder."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A Prefect server of the tests' own."""
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    # Else one that an earlier test started would go on sending to the server it began with.
    EventsWorker.drain_all(timeout=60)
    with (
        temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
        prefect_test_harness(server_startup_timeout=400),
    ):
        yield
