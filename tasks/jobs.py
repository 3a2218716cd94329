"""The one task that does work: submit a job to Ray, follow it, return its manifest."""

import logging

from httpx import HTTPError
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from cluster.jobs.client import Listener, run_job
from cluster.jobs.run import Manifest, Part
from cluster.jobs.spec import JobSpec
from tasks.artifacts import ProgressArtifacts
from tasks.console import Bars

# The line of `signalbox` itself is the error a job ends with, which the run raises anyway.
OUR_LINES = " signalbox."


@task(name="ray job", task_run_name="{spec.job}", cache_policy=NO_CACHE, persist_result=False)
def ray_job(spec: JobSpec, *, address: str) -> Manifest:
    """Make sure the work of a spec is done on Ray, and return its manifest.

    Progress becomes bars on stderr and artifacts in the UI, the job's log becomes the run's. When
    the run is cancelled the job is stopped.

    Raises:
        JobError: the job failed; the text says why.
    """
    logger = get_run_logger()
    artifacts = ProgressArtifacts(spec.job)
    with Bars(logger) as bars:

        def progress(parts: list[Part]) -> None:
            bars.show(parts)
            try:
                artifacts.show(parts)
            # Bars in a UI are no reason to stop a job; they move on when the server is back.
            except HTTPError as error:
                logger.warning("the Prefect server did not take the progress: %s", error)

        def log(line: str) -> None:
            logger.log(logging.INFO if OUR_LINES in line else logging.DEBUG, "%s", line)

        return run_job(spec, address=address, listener=Listener(log=log, progress=progress))
