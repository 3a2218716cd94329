"""route-waiting: the routing jobs of a folder, each routed anew when a router is promoted."""

import json
from typing import Any

from prefect import flow
from pydantic import Field

from cluster import registry
from cluster.errors import InputError, SignalboxError
from cluster.jobs.run import Manifest
from cluster.lake.lake import Lake
from cluster.query import digest
from cluster.ray_cluster import cluster_address
from cluster.spec_file import parse_spec, validated
from cluster.storage import Storage
from flows.params import FlowParams, check_ray
from flows.route import RouteParams, route
from flows.route import check as check_route
from tasks.artifacts import table_artifact
from tasks.report import say, show_columns

FOLDER = "waiting"
KEPT = "waiting-routed"
ENDINGS = (".yaml", ".yml", ".toml")


class WaitingParams(FlowParams):
    """Route every waiting job that today's champion has not routed."""

    jobs: str = Field(
        default="",
        title="Jobs",
        description="Folder, local or s3://, of YAML files with the fields of a 'route', one "
        f"a job. Empty: {FOLDER}/ in the lake",
    )


def check(params: WaitingParams) -> None:
    """What can be told before anything is started.

    Raises:
        SignalboxError: there is no lake, a job's file is broken, or no Ray is at the address.
    """
    lake = Lake.open(params.lake, create=False)
    for file in job_files(params.jobs, lake=lake):
        read_job(file, lake=lake, ray_address=params.ray_address)
    check_ray(params)


@flow(name="route-waiting", persist_result=False)
def route_waiting(params: WaitingParams) -> Manifest:
    """Route the jobs of a folder with the champion; what it has routed already is left as it is.

    A job's own output is replaced, anything else's never. Jobs are independent: where one fails
    the others go on, and the run fails in the end with what is wrong.

    Raises:
        SignalboxError: jobs failed.
    """
    lake = Lake.open(params.lake, create=False)
    champion = registry.champion(lake)
    files = job_files(params.jobs, lake=lake) if champion else []
    with cluster_address(params.ray_address) as address:
        rows = [_routed(file, lake=lake, address=address) for file in files]
    table_artifact(rows, key="waiting", description=f"Waiting jobs of {lake.storage.uri}")
    broken = [f"{row['job']}: {row['trouble']}" for row in rows if row["trouble"]]
    if broken:
        told = "; ".join(broken)
        raise SignalboxError(f"{len(broken)} of {len(rows)} waiting jobs failed: {told}")
    return {"flow": "route-waiting", "lake": lake.storage.uri, "champion": champion, "jobs": rows}


def job_files(folder: str, *, lake: Lake) -> list[str]:
    """URIs of the jobs' files, by name; none where there is no folder."""
    place = Storage.at(folder or lake.storage.join(FOLDER))
    found = [uri for uri, _ in place.list(place.uri)]
    return sorted(uri for uri in found if uri.endswith(ENDINGS))


def read_job(uri: str, *, lake: Lake, ray_address: str) -> RouteParams:
    """What a job's file asks for, on this lake.

    Raises:
        InputError: it is not what `signalbox route --config` takes, or names another lake.
    """
    entry = parse_spec(Storage.at(uri).read_bytes(uri), name=uri)
    if not isinstance(entry, dict):
        raise InputError(f"{uri}: expected fields and values, such as 'input: ./queries.jsonl'")
    fields = {str(name).replace("-", "_"): value for name, value in entry.items()}
    given = {"lake": lake.storage.uri, "ray_address": ray_address} | fields
    job = validated(RouteParams, given, where=uri)
    if Storage.at(job.lake).uri != lake.storage.uri:
        raise InputError(
            f"{uri}: field 'lake' is {job.lake}, and the jobs of {lake.storage.uri} are routed; "
            "leave the field out"
        )
    return job


def _routed(file: str, *, lake: Lake, address: str) -> dict[str, Any]:
    """What came of one job: a row of the table."""
    row: dict[str, Any] = {
        "job": file,
        "state": "failed",
        "output": "",
        "router": "",
        "rows": 0,
        "trouble": "",
    }
    try:
        job = read_job(file, lake=lake, ray_address=address)
        row["output"] = job.output
        _keep_output(job, file=file, lake=lake)
        done = route(job.model_copy(update={"overwrite": True}))
    except SignalboxError as error:
        return row | {"trouble": str(error)}
    state = "routed before" if done.get("done_before") else "routed"
    return row | {"state": state, "router": done["router"], "rows": done["rows"]}


def _keep_output(job: RouteParams, *, file: str, lake: Lake) -> None:
    """Note, before anything is written there, that the output is this job's to replace.

    Raises:
        InputError: something is there that is not.
    """
    place = lake.storage.join(KEPT, f"{digest([file])[:16]}.json")
    kept = lake.storage.read_bytes_or_none(place)
    if kept is not None and json.loads(kept)["output"] == Storage.at(job.output).uri:
        return
    check_route(job)
    record = {"job": file, "output": Storage.at(job.output).uri}
    lake.storage.write(place, json.dumps(record).encode())


def show_result(manifest: Manifest) -> None:
    """A line a job, on stderr."""
    if not manifest["champion"]:
        say("there is no champion, so nothing was routed; 'signalbox train --promote' makes one")
    elif not manifest["jobs"]:
        say(f"no job is waiting; put YAML files into {manifest['lake']}/{FOLDER}")
    show_columns(manifest["jobs"], title="waiting jobs")
