# The control side: Prefect's server and worker, the flows and the command line. No torch, no vLLM:
# all that is heavy runs on Ray.
#
#     docker build --file infra/docker/control.Dockerfile --tag signalbox-control:0.1.0 .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/build && python -m venv /opt/signalbox
WORKDIR /source
COPY infra/locks/build.txt infra/locks/control.txt infra/locks/
RUN /opt/build/bin/pip install --no-deps --requirement infra/locks/build.txt \
    && /opt/signalbox/bin/pip install --no-deps --requirement infra/locks/control.txt
COPY pyproject.toml README.md LICENSE ./
COPY flows flows
COPY tasks tasks
COPY cluster cluster
COPY infra/demo infra/demo
RUN /opt/build/bin/hatchling build --target wheel --directory /wheels \
    && /opt/signalbox/bin/pip install --no-deps /wheels/*.whl \
    && /opt/signalbox/bin/pip check

FROM python:${PYTHON}
# A number, because Kubernetes' runAsNonRoot cannot look a name up; it owns its home and no more.
# A volume that is first mounted at /data is that user's as well.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin signalbox \
    && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/signalbox /opt/signalbox
COPY infra/docker/with-secrets /usr/local/bin/with-secrets
WORKDIR /home/signalbox
COPY infra/prefect.yaml infra/prefect.yaml
COPY infra/kubernetes/work-pool.json infra/kubernetes/work-pool.json
ENV PATH=/opt/signalbox/bin:/usr/local/bin:/usr/bin:/bin \
    PREFECT_HOME=/home/signalbox/.prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
ENTRYPOINT ["with-secrets"]
CMD ["signalbox", "--help"]
