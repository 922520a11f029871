# The service with LMDeploy beside it, for NVIDIA GPUs: LMDeploy's pins contradict ours, so it has an environment of its own, and its server
# is started by the service (settings: serve.lmdeploy_python /opt/lmdeploy/bin/python). Needs the service's image:
#   docker build -f deploy/docker/service-gpu.Dockerfile --build-arg SERVICE=registry.example.com/tingsu/service:0.1.0 \
#     -t registry.example.com/tingsu/service-gpu:0.1.0 .
# The driver comes from the node (NVIDIA's container toolkit), CUDA's libraries with torch. Never built and never run by us.
ARG SERVICE=registry.example.com/tingsu/service:0.1.0
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
WORKDIR /build
COPY deploy/lmdeploy/requirements.txt ./
# Everything as pinned; then what torch's CUDA build needs besides, and what TurboMind does.
RUN python -m venv /opt/lmdeploy \
    && /opt/lmdeploy/bin/pip install --no-cache-dir --no-compile --no-deps -r requirements.txt \
    && /opt/lmdeploy/bin/pip install --no-cache-dir --no-compile -c requirements.txt torch \
    && /opt/lmdeploy/bin/python -m compileall -q -j 0 /opt/lmdeploy/lib

# hadolint ignore=DL3006
FROM ${SERVICE}
# hadolint ignore=DL3002
USER 0:0
# Triton compiles a small C stub for each kernel when it first runs. Debian keeps no old versions, so the base's release is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/lmdeploy /opt/lmdeploy
ENV TRITON_CACHE_DIR=/tmp/triton \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=1200s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
