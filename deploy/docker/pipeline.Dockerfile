# The whole project: a Prefect worker for Kubernetes, and the Jobs it starts (train, judge, release).
#   docker build -f deploy/docker/pipeline.Dockerfile -t registry.example.com/tingsu/pipeline:0.1.0 .
# For training on a GPU: --build-arg PIP_EXTRA_INDEX_URL= --build-arg ROLES="serve train orchestrate kubernetes platform gpu".
# The digest is that which public projects cite for this tag; Docker Hub was not asked.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG ROLES="serve train orchestrate kubernetes platform"
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python -m venv /opt/tingsu \
    && /opt/tingsu/bin/pip install --no-cache-dir -c constraints.txt pip \
    && set -- && for group in ${ROLES}; do set -- "$@" --group "${group}"; done \
    && /opt/tingsu/bin/pip install --no-cache-dir --no-compile -c constraints.txt "$@" \
    && /opt/tingsu/bin/python -m compileall -q -j 0 /opt/tingsu/lib

FROM ${PYTHON}
RUN groupadd --gid 10001 tingsu && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tingsu
COPY --from=build /opt/tingsu /opt/tingsu
WORKDIR /app
COPY LICENSE pyproject.toml constraints.txt prefect.yaml ./
COPY data_contracts data_contracts
COPY configs configs
COPY deploy deploy
COPY tasks tasks
COPY flows flows
# A checkout made under umask 077 is readable to its owner alone, and so would the image's copy be.
RUN chmod -R a+rX . && python -m compileall -q .
# As the launcher sets it; TOKENIZERS_… is no secret.
# hadolint ignore=DL3064
ENV PATH=/opt/tingsu/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TINGSU_HOME=/var/lib/tingsu \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    GX_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0 \
    TOKENIZERS_PARALLELISM=false \
    MPLCONFIGDIR=/tmp/matplotlib \
    GOMP_SPINCOUNT=20000
USER 10001:10001
HEALTHCHECK NONE
CMD ["python", "-P", "-m", "flows", "--help"]
