"""The manifests: valid against Kubernetes' schemas, hardened, and of things that are there."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kuberay
import kubernetes_validate
import pytest
import yaml
from deployed import INFRA, documents, options, project_version, unknown_settings

FOLDER = INFRA / "kubernetes"
KUSTOMIZATION = documents(FOLDER / "kustomization.yaml")[0]
OBJECTS = [one for name in KUSTOMIZATION["resources"] for one in documents(FOLDER / name)]
SECRETS = {
    "signalbox-postgres": {"password"},
    "signalbox-prefect": {"auth_string"},
    "signalbox-ray": {"auth_token"},
}
KUBERNETES = "1.37"
PATH = os.environ["PATH"]
needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="there is no kubectl here"
)


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for one in OBJECTS if one["kind"] in kinds]


def ray_cluster() -> dict[str, Any]:
    return of_kind("RayCluster")[0]


def flow_job(**variables: Any) -> dict[str, Any]:
    """The Job that Prefect's own worker makes of the pool's template for a run."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.utilities.templating import apply_values
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    template = json.loads((FOLDER / "work-pool.json").read_text())
    forms = template["variables"]["properties"]
    defaults = {name: form["default"] for name, form in forms.items() if "default" in form}
    # As the worker does, which asks a server for nothing where no block is named.
    values = apply_values(template["job_configuration"], defaults | variables)
    made = KubernetesWorkerJobConfiguration(**values)
    made.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="collect"))
    job: dict[str, Any] = made.job_manifest
    return job


def templates() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod template) of everything that becomes a pod."""
    for one in of_kind("Deployment", "StatefulSet", "Job"):
        yield one["metadata"]["name"], one["spec"]["template"]
    for group in kuberay.groups(ray_cluster()):
        yield f"ray {group.get('groupName', 'head')}", group["template"]
    yield "flow", flow_job()["spec"]["template"]


def containers() -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, pod in templates() for one in pod["spec"]["containers"]]


def test_every_manifest_is_used_and_valid() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert {*KUSTOMIZATION["resources"], *KUSTOMIZATION["configurations"]} == files
    for one in OBJECTS:
        if one["kind"] != "RayCluster":
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_the_ray_cluster_is_what_kuberay_knows() -> None:
    cluster = ray_cluster()
    assert cluster["apiVersion"] == "ray.io/v1"
    assert kuberay.mistakes(cluster) == []
    for group in kuberay.groups(cluster):
        template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
        pod = template | {"spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    assert kuberay.mistakes({"spec": cluster["spec"] | {"workers": []}}) == [
        "unknown field workers"
    ]


def test_gpu_workers_start_from_none_and_the_cluster_scales_itself() -> None:
    cluster = ray_cluster()
    assert cluster["spec"]["enableInTreeAutoscaling"] is True
    cpu, gpu = cluster["spec"]["workerGroupSpecs"]
    assert (gpu["replicas"], gpu["minReplicas"]) == (0, 0)
    assert gpu["maxReplicas"] > 0
    assert cpu["minReplicas"] >= 1
    limits = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert gpu["template"]["spec"]["containers"][0]["image"].startswith("signalbox-ray-cuda:")


def test_ray_s_options_and_version_are_the_lock_s() -> None:
    cluster = ray_cluster()
    lock = (INFRA / "locks" / "cpu.txt").read_text()
    assert f"\nray=={cluster['spec']['rayVersion']}\n" in lock
    given = {f"--{name}" for group in kuberay.groups(cluster) for name in group["rayStartParams"]}
    assert given <= options("ray", "start")
    assert cluster["spec"]["authOptions"] == {"mode": "token", "secretName": "signalbox-ray"}


def test_pods_run_as_nobody_within_limits() -> None:
    for name, template in templates():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] >= 999, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
    for name, one in containers():
        assert one["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert {"cpu", "memory"} <= one["resources"]["limits"].keys(), name
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys(), name


def test_what_keeps_running_is_probed() -> None:
    lasting = {name for name, _ in templates()} - {"flow", "prefect-deploy"}
    for name, one in containers():
        if name in lasting:
            assert "livenessProbe" in one, name


def test_only_the_worker_talks_to_kubernetes() -> None:
    for name, template in templates():
        # KubeRay gives the head an account of its own, for the autoscaler beside it.
        expected = {"prefect-worker": True, "ray head": None}.get(name, False)
        if name in ("postgres",):
            expected = False
        assert template["spec"].get("automountServiceAccountToken") is expected, name


def references(value: Any) -> Iterator[tuple[str, str | None]]:
    """(secret, key) of every reference to a secret below a value."""
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    if not isinstance(value, dict):
        return
    for name, one in value.items():
        if name == "secretKeyRef":
            yield one["name"], one["key"]
        elif name == "secretRef":
            yield one["name"], None
        elif name in ("secretName",):
            yield one, None
        else:
            yield from references(one)


def test_secrets_are_references_to_the_ones_the_first_lines_tell_to_make() -> None:
    told = (FOLDER / "kustomization.yaml").read_text()
    found = [*references(OBJECTS), *references(flow_job())]
    for secret, key in found:
        assert secret in told
        assert key is None or key in SECRETS[secret]
    assert {"signalbox-s3", *SECRETS} <= {secret for secret, _ in found}
    assert of_kind("Secret") == []
    for name, one in containers():
        for variable in one.get("env", []):
            if re.search(r"PASSWORD|AUTH_STRING$|TOKEN$|SECRET_ACCESS", variable["name"]):
                assert "valueFrom" in variable, (name, variable["name"])


def test_variables_are_ones_that_something_reads() -> None:
    for name, one in containers():
        own = [variable["name"] for variable in one.get("env", []) if name != "flow"]
        in_command = set(re.findall(r"\$([A-Z_]+)", " ".join(one.get("args", []))))
        assert in_command <= set(own), name
        assert unknown_settings([each for each in own if each not in in_command]) == [], name
    assert unknown_settings(list(of_kind("ConfigMap")[0]["data"])) == []


def test_images_are_the_project_s_or_pinned() -> None:
    images = {one["image"] for _, one in containers()}
    ours = {image for image in images if image.startswith("signalbox-")}
    tag = project_version()
    assert ours == {
        f"signalbox-control:{tag}",
        f"signalbox-ray-cpu:{tag}",
        f"signalbox-ray-cuda:{tag}",
    }
    compose = (INFRA / "compose.yaml").read_text()
    for image in images:
        assert image in compose, "one machine and many run the same images"


def test_commands_have_options_and_files_that_exist() -> None:
    by_name = dict(containers())
    worker = by_name["prefect-worker"]["args"]
    assert {word for word in worker if word.startswith("--")} <= options(
        "prefect", "worker", "start"
    )
    fill, create, deploy = by_name["prefect-deploy"]["args"][-1].split(" && ")
    assert create.split()[-1] == worker[worker.index("--pool") + 1]
    template, filled = re.findall(r"\S+\.json", fill)
    assert f"--base-job-template {filled} " in create
    for file in (template, deploy.split()[-1]):
        assert (INFRA.parent / file).is_file()


def test_a_flow_run_s_pod_is_valid_and_carries_the_run_s_own_places() -> None:
    job = flow_job(env={"SIGNALBOX_LAKE": "s3://else/where"}, image="registry/control:9")
    job["metadata"]["name"] = "x"
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    pod = job["spec"]["template"]
    assert pod["metadata"]["labels"]["app"] == "flow"
    one = pod["spec"]["containers"][0]
    assert one["image"] == "registry/control:9"
    assert {"name": "SIGNALBOX_LAKE", "value": "s3://else/where"} in one["env"]
    assert one["args"][0] == "prefect"
    assert "command" not in one, "the image's entry point stays"
    mounts = {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}
    token = of_kind("ConfigMap")[0]["data"]["RAY_AUTH_TOKEN_PATH"]
    assert token == f"{mounts['ray']}/auth_token"


def policies_for(labels: dict[str, str], *, way: str) -> list[dict[str, Any]]:
    """Rules of one way (ingress, egress) that hold for a pod with these labels."""
    found = []
    for policy in of_kind("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], labels):
            found += policy["spec"].get(way, [])
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    words = selector.get("matchLabels", {})
    lists = selector.get("matchExpressions", [])
    return all(labels.get(name) == value for name, value in words.items()) and all(
        labels.get(one["key"]) in one["values"] for one in lists
    )


def may(source: str, target: str, port: int) -> bool:
    """Whether both ends' policies let a connection between two kinds of pods through."""

    def passes(rule: dict[str, Any], peers: str, other: str) -> bool:
        ports = [one["port"] for one in rule.get("ports", [{"port": port}])]
        pods = [one["podSelector"] for one in rule.get(peers, []) if "podSelector" in one]
        return port in ports and any(selects(pod, {"app": other}) for pod in pods)

    out = any(passes(rule, "to", target) for rule in policies_for({"app": source}, way="egress"))
    into = any(
        passes(rule, "from", source) for rule in policies_for({"app": target}, way="ingress")
    )
    return out and into


def test_pods_reach_whom_they_need_and_nobody_else() -> None:
    pods = ["postgres", "prefect-server", "prefect-worker", "prefect-deploy", "flow", "ray"]
    ports = (4200, 5432, 6379, 8265)
    open_ways = {(a, b, port) for a in pods for b in pods for port in ports if may(a, b, port)}
    assert open_ways == {
        ("prefect-server", "postgres", 5432),
        ("prefect-worker", "prefect-server", 4200),
        ("prefect-deploy", "prefect-server", 4200),
        ("flow", "prefect-server", 4200),
        ("flow", "ray", 8265),
        *(("ray", "ray", port) for port in ports),
    }
    labels = {name: template["metadata"]["labels"]["app"] for name, template in templates()}
    assert set(labels.values()) == set(pods)


def test_all_is_closed_that_no_policy_opens() -> None:
    nothing = next(one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "nothing")
    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    namespace = of_kind("Namespace")[0]["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_services_lead_to_pods() -> None:
    labels = [template["metadata"]["labels"] for _, template in templates()]
    names = {"signalbox-head-svc"}
    for service in of_kind("Service"):
        names.add(service["metadata"]["name"])
        assert any(service["spec"]["selector"].items() <= one.items() for one in labels)
    hosts = re.findall(r"http://([a-z-]+):\d+", str(of_kind("ConfigMap")))
    assert set(hosts) <= names
    assert f"{ray_cluster()['metadata']['name']}-head-svc" in names


def built(folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(done.stdout))


def words(value: Any) -> Iterator[str]:
    """Every text below a value."""
    if isinstance(value, str):
        yield value
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in below:
        yield from words(one)


@needs_kubectl
def test_kubectl_puts_it_together() -> None:
    objects = built(FOLDER)
    assert len(objects) == len(OBJECTS)
    spaces = [one["metadata"].get("namespace") for one in objects if one["kind"] != "Namespace"]
    assert set(spaces) == {"signalbox"}


@needs_kubectl
def test_images_of_a_registry_reach_every_pod_and_the_runs_pool(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    ours = [one["name"] for one in KUSTOMIZATION["images"]]
    pushed = {name: f"registry.example:5000/team/{name}" for name in ours}
    images = [{"name": name, "newName": pushed[name], "newTag": "9"} for name in ours]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(KUSTOMIZATION | {"images": images}))
    objects = built(folder)
    job = next(one for one in objects if one["kind"] == "Job")
    container = job["spec"]["template"]["spec"]["containers"][0]
    command = container.pop("args")[-1]
    found = [word for word in words(objects) if re.search(r"signalbox-(control|ray-\w+):", word)]
    assert sorted(found) == sorted(
        # The server, the worker, the deploying and the runs it names; the head and CPU workers.
        [f"{pushed['signalbox-control']}:9"] * 4
        + [f"{pushed['signalbox-ray-cpu']}:9"] * 2
        + [f"{pushed['signalbox-ray-cuda']}:9"]
    )
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    fill = command.partition(" && ")[0].replace("/tmp/work-pool.json", str(tmp_path / "pool.json"))
    subprocess.run(["sh", "-c", fill], cwd=INFRA.parent, env=given | {"PATH": PATH}, check=True)
    pool = json.loads((tmp_path / "pool.json").read_text())
    default = pool["variables"]["properties"]["image"]["default"]
    assert default == f"{pushed['signalbox-control']}:9"


def test_only_workers_need_the_shared_volume() -> None:
    mounting = {
        name
        for name, template in templates()
        for volume in template["spec"].get("volumes", [])
        if volume.get("persistentVolumeClaim", {}).get("claimName") == "models"
    }
    assert mounting == {"ray cpu", "ray gpu"}
