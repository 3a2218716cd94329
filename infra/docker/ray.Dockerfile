# Ray's side: the cluster's head and workers, with every engine. No Prefect.
#
#     docker build --file infra/docker/ray.Dockerfile --tag signalbox-ray-cpu:0.1.0 .
#     docker build --file infra/docker/ray.Dockerfile --build-arg VARIANT=cuda \
#         --tag signalbox-ray-cuda:0.1.0 .
#
# Both stand on the same plain Python, because CUDA's libraries come with the wheels and the driver
# with NVIDIA's container toolkit: so head, CPU and GPU workers have the same Python, as Ray demands.
ARG PYTHON=3.11.14-slim-bookworm
ARG VARIANT=cpu

FROM python:${PYTHON} AS build
ARG VARIANT
# Where the CPU build of torch may come from when the configured sources lack it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/build && python -m venv /opt/signalbox
WORKDIR /source
COPY infra/locks/build.txt infra/locks/ray-${VARIANT}.txt infra/locks/
RUN /opt/build/bin/pip install --no-deps --requirement infra/locks/build.txt
RUN if [ "${VARIANT}" = cpu ]; then export PIP_EXTRA_INDEX_URL="${TORCH_INDEX}"; fi \
    && /opt/signalbox/bin/pip install --no-deps --requirement "infra/locks/ray-${VARIANT}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY flows flows
COPY tasks tasks
COPY cluster cluster
COPY infra/demo infra/demo
RUN /opt/build/bin/hatchling build --target wheel --directory /wheels \
    && /opt/signalbox/bin/pip install --no-deps /wheels/*.whl

FROM python:${PYTHON} AS system
# vLLM on CPUs asks for libnuma and OpenMP; on GPUs Triton compiles its kernels with gcc.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin signalbox \
    && install --directory --owner=10001 --group=10001 /models

FROM system
COPY --from=build /opt/signalbox /opt/signalbox
COPY infra/docker/with-secrets /usr/local/bin/with-secrets
WORKDIR /home/signalbox
ENV PATH=/opt/signalbox/bin:/usr/local/bin:/usr/bin:/bin \
    HF_HOME=/models \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
ENTRYPOINT ["with-secrets"]
CMD ["ray", "start", "--help"]
