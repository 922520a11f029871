"""The addresses nginx answers on, and TLS there: `rollout.server.tls` names a certificate and its key, which lie on the server.

They stay the operator's: they are not copied, and whoever renews them has nginx reload.
"""

import logging
import ssl
from datetime import UTC, datetime

from configs.rollout import TlsSettings
from configs.settings import Settings
from data_contracts.errors import ConfigurationError
from deploy.operate import ports
from deploy.targets.server_host import Host, shell

HTTPS = 443
SOON_S = 14 * 86400
"""Before its end a certificate is warned of; who renews by machine does so a month before."""
CIPHERS = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)
"""Of TLS 1.2, Mozilla's intermediate ones without finite fields; those of 1.3 are all good."""
log = logging.getLogger("tingsu")
CLEAR = "    # API keys and what callers said travel in clear here: set rollout.server.tls."


def listens(settings: Settings, is_public: bool) -> str:
    """The lines of nginx's server block. Our own checks ask the plain port on loopback, whatever callers are answered on."""
    host, port, tls = settings.serve.host, settings.ports.service, settings.rollout.server.tls
    own = f"    listen 127.0.0.1:{port};"
    if tls is not None:
        return "\n".join([own, f"    listen {ports.bracketed(host)}:{tls.port} ssl;", *_ssl(tls)])
    lines = [f"    listen {ports.bracketed(host)}:{port};"]
    holds_own = host in ("127.0.0.1", "0.0.0.0", "localhost")
    return "\n".join([*([] if holds_own else [own]), *([CLEAR] if is_public else []), *lines])


def url(settings: Settings, machine: str) -> str:
    """Where callers ask."""
    tls = settings.rollout.server.tls
    if tls is None:
        return f"http://{ports.bracketed(machine)}:{settings.ports.service}"
    return f"https://{ports.bracketed(machine)}" + f":{tls.port}" * (tls.port != HTTPS)


def require(host: Host, settings: Settings) -> None:
    """Return if nginx there can answer with the certificate and the key of the settings, if any.

    Raises:
        ConfigurationError: it cannot; names the file.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    tls = settings.rollout.server.tls
    said = shell(host, _CHECK, tls.certificate, tls.key).strip() if tls else ""
    if tls is None or not said:
        return
    untouched = "; nothing was touched. The settings are rollout.server.tls.certificate and .key"
    if said in (tls.certificate, tls.key):
        raise ConfigurationError(f"{host.name} has no file {said}, or an empty one; put it there, in PEM{untouched}")
    if "mismatch" in said:
        raise ConfigurationError(
            f"{tls.key} on {host.name} is not the key of {tls.certificate}; name a pair that belongs together{untouched}"
        )
    raise ConfigurationError(
        f"nginx on {host.name} cannot use {tls.certificate} with {tls.key}: {said[:300]}; the "
        f"certificate comes first in its file, its chain after it, and the key has no passphrase{untouched}"
    )


def require_in_date(host: Host, settings: Settings) -> None:
    """Return if the certificate of the settings, if any, is valid by the server's clock; one that ends soon is warned of. Not asked
    of an undo: nginx goes on with one that ended, and callers who check it are turned away anyhow.

    Raises:
        ConfigurationError: it ended, or has not begun.
        RolloutFailed, EngineUnavailable: see Host.run.
    """
    tls = settings.rollout.server.tls
    said = shell(host, _DATES, tls.certificate).split("\n") if tls else []
    if tls is None or len(said) < 3:
        return
    begins_s, ends_s = (ssl.cert_time_to_seconds(line.partition("=")[2]) for line in said[:2])
    now_s, name = float(said[2]), f"{tls.certificate} on {host.name}"
    if not begins_s <= now_s < ends_s:
        wrong = f"ended at {_day(ends_s)}" if now_s >= ends_s else f"does not begin before {_day(begins_s)}"
        raise ConfigurationError(
            f"{name} {wrong}, and the clock there says {_day(now_s)}: callers would refuse it; renew it there (setting "
            "rollout.server.tls.certificate), then run this again; nothing was touched"
        )
    if ends_s - now_s < SOON_S:
        log.warning("%s ends at %s: renew it, then `systemctl reload nginx` there", name, _day(ends_s))


# By the server's clock. One that cannot be read, which `require` tells, and a server without openssl say nothing.
_DATES = r"""
command -v openssl >/dev/null && openssl x509 -in "$1" -noout -startdate -enddate 2>/dev/null && date +%s || true
"""

# By nginx itself, which is what has to read them; a file that is missing is named. Where there is no nginx, that is told first.
_CHECK = r"""
command -v nginx >/dev/null || exit 0
for file in "$1" "$2"; do [ -f "$file" ] && [ -s "$file" ] || { echo "$file"; exit 0; }; done
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cat >"$folder/nginx.conf" <<END
pid $folder/pid; error_log stderr; events {}
http { access_log off; server { listen unix:$folder/socket ssl; ssl_certificate "$1"; ssl_certificate_key "$2"; } }
END
nginx -t -q -c "$folder/nginx.conf" </dev/null 2>&1 | sed -n 's/.*\[emerg\] \([0-9#]*: \)\{0,1\}//p' | head -n 1
"""


def _ssl(tls: TlsSettings) -> list[str]:
    """A request a connection (see keepalive_timeout), so callers take sessions up again."""
    values = {
        "certificate": tls.certificate,
        "certificate_key": tls.key,
        "protocols": "TLSv1.2 TLSv1.3",
        "ciphers": CIPHERS,
        "prefer_server_ciphers": "off",
        "session_cache": "shared:tingsu:4m",
        "session_timeout": "1h",
        "session_tickets": "off",
    }
    return [f"    ssl_{name} {value};" for name, value in values.items()]


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="minutes")
