"""A candidate's share of the requests that nobody watches ends on the server itself: the controller, or the way to it, may be dead.

A timer of systemd, wound up when the share is routed and by every look; it goes with the share. When it runs out, nginx is given the
file that was laid ready when the share was routed: all requests to what is live. The next look, or the next step, routes anew.
"""

from configs.settings import Settings
from deploy.targets.server_host import Host, shell
from deploy.targets.server_put import CANARY, LAPSE, words_of
from deploy.targets.server_units import UNITS, filled

TIMER, SERVICE = "tingsu-unwatched.timer", "tingsu-unwatched.service"


def files(settings: Settings) -> dict[str, str]:
    """What is installed for it, by path."""
    own, canary = settings.rollout.server, settings.rollout.canary
    hold_ms = round(1000 * (canary.unwatched_s + canary.look_every_s))
    values = {
        "@ROOT@": own.root,
        "@NGINX@": own.nginx,
        "@WORDS@": " ".join(words_of(settings)),
        "@HOLD_MS@": str(hold_ms),
    }
    units = {f"{UNITS}/{name}": filled(name, values) for name in (TIMER, SERVICE)}
    return {f"{own.root}/unwatched": LAPSE, **units}


def enable(host: Host, is_new: bool) -> None:
    """Have systemd know the files, also after a restart of the machine. Raises as Host.run."""
    script = (
        '[ -z "$3" ] && [ -L "$1/timers.target.wants/$2" ] || { systemctl daemon-reload; systemctl enable -q "$2"; }'
    )
    shell(host, script, UNITS, TIMER, "new" * is_new)


def put_off(host: Host, settings: Settings) -> bool:
    """Somebody looks: it does not end for another while. Whether it has ended already. Raises as Host.run."""
    script = f'[ ! -f "$1.unwatched" ] || systemctl restart "$2"; [ ! -f "$1" ] || sed -n "s/^{CANARY}//p" -- "$1"'
    return shell(host, script, settings.rollout.server.nginx, TIMER).strip() == "lapsed"


def remove(host: Host) -> None:
    """Take the units away. Raises as Host.run."""
    shell(host, _REMOVE, UNITS, TIMER, SERVICE)


_REMOVE = """
systemctl disable -q --now "$2" 2>/dev/null || :
systemctl stop "$3" 2>/dev/null || :
rm -f -- "$1/$2" "$1/$3" "$1/timers.target.wants/$2"
systemctl daemon-reload
systemctl reset-failed "$2" "$3" 2>/dev/null || :
"""
