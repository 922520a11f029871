# The service on CPU, and what an init container fetches bundles with.
#   docker build -f deploy/docker/service.Dockerfile -t registry.example.com/tingsu/service:0.1.0 .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --user "$(id -u):$(id -g)" \
#     -p 127.0.0.1:8000:8000 -v "$TINGSU_HOME:/etc/tingsu:ro" registry.example.com/tingsu/service:0.1.0 \
#     python -P -m deploy.service --home /etc/tingsu --host 0.0.0.0 --port 8000 --bundle /etc/tingsu/store/bundles/DIGEST
# The digest is that which public projects cite for this tag; Docker Hub was not asked. After a new one: docker buildx imagetools inspect TAG.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
# torch's CPU build; from PyPI it is the CUDA one of several gigabytes. Another index: --build-arg.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python -m venv /opt/tingsu \
    && /opt/tingsu/bin/pip install --no-cache-dir -c constraints.txt pip \
    && /opt/tingsu/bin/pip install --no-cache-dir --no-compile -c constraints.txt --group serve \
    && /opt/tingsu/bin/python -m compileall -q -j 0 /opt/tingsu/lib

FROM ${PYTHON}
RUN groupadd --gid 10001 tingsu && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tingsu
COPY --from=build /opt/tingsu /opt/tingsu
WORKDIR /app
COPY LICENSE ./
COPY data_contracts data_contracts
COPY configs configs
COPY deploy deploy
# A checkout made under umask 077 is readable to its owner alone, and so would the image's copy be.
RUN chmod -R a+rX . && python -m compileall -q .
# TOKENIZERS_… is no secret. As the launcher sets it: nothing phones home, nothing is downloaded, and our own packages alone are on the path.
# hadolint ignore=DL3064
ENV PATH=/opt/tingsu/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=true \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    TOKENIZERS_PARALLELISM=false \
    GOMP_SPINCOUNT=20000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=600s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["python", "-P", "-m", "deploy.service", "--help"]
