#!/bin/sh
# The whole platform where Docker is: deploy/compose/up.sh. The first time it makes secrets into .env beside it (yours alone to read) and
# builds the image, which takes minutes. Again: brings what is missing or was changed. Away: docker compose down (--volumes: with all data).
set -eu
cd -- "$(dirname -- "$0")"
umask 077

secret() { head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

if [ ! -e .env ]; then
    made=$(mktemp .env.XXXXXX)
    for name in POSTGRES_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY GRAFANA_PASSWORD; do
        printf '%s=%s\n' "$name" "$(secret)" >>"$made"
    done
    echo COMPOSE_PROJECT_NAME=tingsu >>"$made"
    mv -- "$made" .env
fi
[ "${1-}" != --only-secrets ] || exit 0

docker compose version >/dev/null 2>&1 || {
    echo "up.sh: there is no Docker with its compose plugin here; see https://docs.docker.com/engine/install" >&2
    exit 4
}
docker compose up --build --detach --wait "$@" || {
    echo "up.sh: not everything is up; docker compose ps says what, docker compose logs NAME why. Then run this again" >&2
    exit 4
}
echo "service http://127.0.0.1:8000 · Prefect http://127.0.0.1:4200 · MLflow http://127.0.0.1:5001 · Prometheus http://127.0.0.1:9090 · Grafana http://127.0.0.1:3000 (admin, GRAFANA_PASSWORD of .env)"
echo "a key for callers: docker compose exec tingsu python -P -m flows keys add crm; the first model: docker compose exec tingsu python -P -m flows retrain"
