"""Fields of KubeRay's RayCluster; pod templates are Kubernetes'.

Checked by hand against the custom resource definition, version v1, of KubeRay's repository at its
commit 017710c, but for `authOptions.secretName`, which that lacks: the API reference of 1.6.2 has
it, with `auth_token` as the secret's key. `ttlSecondsAfterIdle` is in the definition and not here:
no release is known to have it.
"""

from typing import Any

RAY_CLUSTER = {
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "headServiceAnnotations",
    "managedBy",
    "rayVersion",
    "suspend",
    "upgradeStrategy",
    "workerGroupSpecs",
}
AUTH = {"enableK8sTokenAuth", "mode", "secretName"}
AUTOSCALER = {
    "env",
    "envFrom",
    "idleTimeoutSeconds",
    "image",
    "imagePullPolicy",
    "resources",
    "securityContext",
    "upscalingMode",
    "version",
    "volumeMounts",
}
HEAD = {"enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType"}
WORKER = {
    "groupName",
    "idleTimeoutSeconds",
    "labels",
    "maxReplicas",
    "minReplicas",
    "numOfHosts",
    "rayStartParams",
    "replicas",
    "resources",
    "scaleStrategy",
    "suspend",
}


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]


def mistakes(cluster: dict[str, Any]) -> list[str]:
    """What a RayCluster holds that KubeRay does not know; pod templates are not looked into."""
    spec = cluster["spec"]
    parts = [
        (spec, RAY_CLUSTER),
        (spec["authOptions"], AUTH),
        (spec["autoscalerOptions"], AUTOSCALER),
        (spec["headGroupSpec"], HEAD | {"template"}),
        *((group, WORKER | {"template"}) for group in spec["workerGroupSpecs"]),
    ]
    unknown = [f"unknown field {name}" for part, known in parts for name in part.keys() - known]
    wrong = [
        f"{name}: {value!r} is no text"
        for group in groups(cluster)
        for name, value in group["rayStartParams"].items()
        if not isinstance(value, str)
    ]
    if spec["autoscalerOptions"]["version"] not in ("v1", "v2"):
        wrong.append("autoscaler version")
    if spec["authOptions"]["mode"] not in ("token", "disabled"):
        wrong.append("authentication mode")
    return unknown + wrong
