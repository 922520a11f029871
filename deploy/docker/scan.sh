#!/bin/sh
# What your CI should run before an image goes to production: lint, build, look for known holes, list what is inside, sign. Never run by us: it
# needs Docker and the network. Put it into a job as it is, or copy the lines; each step fails the job by its exit code.
#   deploy/docker/scan.sh registry.example.com/tingsu/service:0.1.0 deploy/docker/service.Dockerfile
# What follows goes to docker build: service-gpu.Dockerfile needs --build-arg SERVICE=registry.example.com/tingsu/service:0.1.0 --pull=false
# where that image is not pushed yet.
# Tools: hadolint, docker, trivy, syft, cosign, and pip-audit (pipx install pip-audit). Pin their versions in your CI.
set -eu
image=$1
dockerfile=$2
shift 2
reports=${REPORTS:-reports}
mkdir -p "$reports"

hadolint "$dockerfile"

# Python packages, by their pins, against the PyPI and OSV advisories: also those that no image has.
pip-audit --requirement constraints.txt --no-deps --disable-pip --format json --output "$reports/pip-audit.json"
pip-audit --requirement deploy/lmdeploy/requirements.txt --no-deps --disable-pip

docker build --pull "$@" --file "$dockerfile" --tag "$image" .

# Packages of Debian and Python, secrets and settings in the image. What has no fix yet is reported and does not fail.
trivy image --severity CRITICAL,HIGH --ignore-unfixed --exit-code 1 --scanners vuln,secret,misconfig "$image"
trivy image --severity CRITICAL,HIGH --format json --output "$reports/trivy.json" "$image"
syft "$image" --output "spdx-json=$reports/sbom.spdx.json"

# It starts without rights, and refuses what it must: exit code 2, for nothing to serve was named.
code=0
docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "$image" \
    python -P -m deploy.service --home /tmp --port 8000 || code=$?
[ "$code" -eq 2 ] || { echo "the image's service ended with $code, not with 2 and one sentence" >&2 && exit 1; }

# The chart: rendered as you install it, then judged. deploy/helm/checkov.yaml says which findings are accepted, and why.
helm lint --strict deploy/helm/tingsu --values deploy/helm/values-cpu.yaml
helm template tingsu deploy/helm/tingsu --values deploy/helm/values-cpu.yaml >"$reports/rendered.yaml"
checkov --file "$reports/rendered.yaml" --config-file deploy/helm/checkov.yaml

docker push "$image"
digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$image")
cosign sign --yes "$digest"
cosign attest --yes --type spdxjson --predicate "$reports/sbom.spdx.json" "$digest"
echo "image.digest for the chart: ${digest##*@}"
