"""compose.yaml: valid, closed to the outside, and of things that are there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
from deployed import INFRA, documents, options, project_version, unknown_settings

COMPOSE = INFRA / "compose.yaml"
FILE = documents(COMPOSE)[0]
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("signalbox-")}


def test_it_is_what_the_compose_specification_allows() -> None:
    compose_spec.PyCompose.from_json(json.dumps(FILE))
    wrong = {"services": {"one": {"image": "x", "prots": ["1:1"]}}}
    with pytest.raises(ValueError, match="prots"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_every_service_is_hardened_and_limited() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory"}, name
        assert "privileged" not in service, name
        assert service.get("user") or name in OURS, "ours have their user from the image"


def test_nothing_is_published_but_two_pages_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:4200:4200", "127.0.0.1:8265:8265"]
    assert FILE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "s3"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_secrets_are_files_and_stand_nowhere() -> None:
    for name, service in SERVICES.items():
        asked = set(re.findall(r"/run/secrets/(\w+)", str(service.get("environment", {}))))
        assert asked <= set(service.get("secrets", [])), name
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|AUTH_STRING", variable)
            assert not secret or value.startswith("/run/secrets/"), (name, variable)
    for name, secret in FILE["secrets"].items():
        assert secret == {"file": f"secrets/{name}"}
    ignored = (INFRA.parent / ".gitignore").read_text().splitlines()
    assert "/infra/secrets/" in ignored


def test_variables_are_ones_that_something_reads() -> None:
    for name, service in SERVICES.items():
        assert unknown_settings(list(service.get("environment", {}))) == [], name


def test_images_are_pinned_and_built_from_files_that_exist() -> None:
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d+[.-]\d+", tag), name
        build = service.get("build")
        assert (build is None) == (name not in OURS), name
        if build is None:
            continue
        assert (COMPOSE.parent / build["context"] / build["dockerfile"]).is_file()
        variant = build.get("args", {}).get("VARIANT", "")
        assert tag == project_version(), name
        assert image.endswith(variant), name


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("prefect-server", ("prefect", "server", "start")),
        ("worker", ("prefect", "worker", "start")),
        ("ray-head", ("ray", "start")),
        ("ray-worker", ("ray", "start")),
        ("ray-gpu-worker", ("ray", "start")),
    ],
)
def test_commands_have_options_that_exist(service: str, command: tuple[str, ...]) -> None:
    words = SERVICES[service]["command"]
    assert tuple(words[: len(command)]) == command
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= options(*command)


def test_the_deployments_go_to_the_pool_the_worker_asks() -> None:
    line = SERVICES["deploy"]["command"][-1]
    create, deploy = line.split(" && ")
    pool = create.split()[-1]
    assert SERVICES["worker"]["command"][SERVICES["worker"]["command"].index("--pool") + 1] == pool
    assert set(re.findall(r"--[a-z-]+", create)) <= options("prefect", "work-pool", "create")
    file = deploy.split()[-1]
    deployments = documents(INFRA.parent / file)[0]["deployments"]
    assert {one["work_pool"]["name"] for one in deployments} == {pool}


def test_names_of_hosts_are_services() -> None:
    hosts = re.findall(r"(?:http://|address=)([a-z0-9-]+):\d+", COMPOSE.read_text())
    assert set(hosts) - set(SERVICES) == set()
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_the_bucket_s_command_makes_the_lake_s_bucket(s3_environment: dict[str, str]) -> None:
    import boto3

    command = SERVICES["bucket"]["command"]
    for _ in range(2):
        subprocess.run([sys.executable, *command[1:]], env=os.environ | s3_environment, check=True)
    store = boto3.client(
        "s3", endpoint_url=s3_environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
    buckets = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
    lake = Path(SERVICES["worker"]["environment"]["SIGNALBOX_LAKE"].removeprefix("s3://"))
    assert lake.parts[0] in buckets
