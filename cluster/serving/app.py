"""The application that Ray Serve deploys: `import_path: cluster.serving.app:build`."""

from typing import Any

from cluster.serving.gateway import Gateway
from cluster.serving.spec import ServeSpec

APPLICATION = "signalbox"
DEPLOYMENT = "gateway"
# Requests under way, mostly waiting for their back-ends; more are refused with status 503.
_ONGOING = 1024
_QUEUED = 1024
# So long a replica that is stopped goes on with what it has begun.
_DRAIN_SECONDS = 5.0
# A request is one short text: handing its pieces to other threads takes longer than reading it.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}


def build(spec: ServeSpec) -> Any:
    """The application; Ray Serve calls this on the cluster with the spec of its configuration."""
    from ray import serve

    deployment = serve.deployment(
        name=DEPLOYMENT,
        # One: what Prometheus is told is one process's.
        num_replicas=1,
        max_ongoing_requests=_ONGOING,
        max_queued_requests=_QUEUED,
        ray_actor_options={"runtime_env": {"env_vars": _ENVIRONMENT}},
        # A router that cannot be loaded is told of at once.
        max_constructor_retry_count=1,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS,
    )(serve.ingress()(Gateway))
    return deployment.bind(spec.model_dump(mode="json"))
