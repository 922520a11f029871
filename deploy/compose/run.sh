#!/bin/sh
# What the container `tingsu` runs: a Prefect worker, and beside it the champion's service, which the worker's releases exchange.
set -eu

# Others than this container reach the service, so it asks for keys: this one is Prometheus' own, and opens /metrics alone.
if [ ! -s /scrape/key ]; then
    python -P -m flows keys revoke prometheus >/dev/null 2>&1 || true # made, but not handed over
    python -P -m flows keys add prometheus --scope metrics >/scrape/key.new
    chmod 644 /scrape/key.new
    mv /scrape/key.new /scrape/key
fi

ready() { python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=5)" 2>/dev/null; }

# After a start of the container, and when the service itself was ended: the version that is live, if there is one. What waits for a
# person's approval waits on, and a release under way is left alone.
serve() {
    while :; do
        ready || { sleep 10 && ready; } || python -P -m flows up --service || true
        sleep 30
    done
}

serve &
prefect --no-prompt work-pool create tingsu --type process --overwrite
prefect --no-prompt deploy --all --prefect-file prefect.yaml
exec prefect --no-prompt worker start --pool tingsu --type process --name tingsu --with-healthcheck
