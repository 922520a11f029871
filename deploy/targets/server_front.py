"""nginx before the instances: who gets which share of the requests. The file it reads says so in its head, and is the truth about it.

Also about a candidate's share: `watched`, it ends by itself unless somebody looks (server_unwatched), `lapsed`, it has ended so, or
`none`, nobody is tried or the share is for good.
"""

import json
from typing import Literal, NamedTuple, get_args

from configs.settings import Settings
from data_contracts.messages import say
from data_contracts.schema import Frozen
from deploy import service
from deploy.targets import server_tls
from deploy.targets.server_host import LIMIT_S, Host, read, shell
from deploy.targets.server_put import CANARY, put
from deploy.targets.server_units import SIDES, Instance, Side, is_public

TEMPLATE = service.ROOT / "deploy/nginx/tingsu.conf"
MARK = "# traffic: "
Watch = Literal["none", "watched", "lapsed"]
AGAIN_S = 2
SPARE_S = 5.0
AGAIN_SHARE = 0.9
"""Of the time after which the service gives a request up: until then it may be asked of another instance."""
DRAIN_LOOKS_S = 0.1
ALWAYS_ASKED = "max_fails=0"
"""nginx tells no full instance (503) from a dead one, and leaves out both. Measured at 1.5 times what two can answer, with five
refusals in two seconds for a reason: each was left out in turn, and 31 % of what they can was answered; with this, 99 %."""


class Traffic(Frozen):
    """The instances that answer, and how the requests are split: `share` of them go to side `to`, the rest to the other one."""

    instances: tuple[Instance, ...]
    to: Side
    share: float = 1.0

    def of(self, side: Side) -> tuple[Instance, ...]:
        return tuple(one for one in self.instances if one.side == side)

    def shares(self) -> dict[Side, float]:
        return {side: round(self.share if side == self.to else 1 - self.share, 4) for side in SIDES}


class Head(NamedTuple):
    """What the file says of itself; no shares before the first rollout."""

    shares: dict[Side, float]
    canary: Watch


def text(settings: Settings, traffic: Traffic, canary: Watch = "none") -> str:
    """The file that nginx reads."""
    serve = settings.serve
    texts_s = serve.generate.limit_s + serve.generate.wait_s
    values = {
        "@TRAFFIC@": json.dumps(traffic.shares()),
        "@CANARY@": canary,
        "@UPSTREAMS@": "\n".join(_upstream(traffic, side) for side in SIDES if traffic.shares()[side] > 0),
        "@SPLIT@": _split(traffic),
        "@LISTEN@": server_tls.listens(settings, is_public(settings)),
        "@BODY@": f"{serve.max_body_mb + 1:.0f}m",  # a little more than the service takes, which says it better
        "@CLIENT_S@": _time(serve.client_timeout_s),
        "@CLASSIFY_S@": _time(serve.deadline_s + SPARE_S),
        "@GENERATE_S@": _time(max(texts_s, serve.deadline_s) + SPARE_S),
        "@CLASSIFY_AGAIN_S@": _time(AGAIN_SHARE * serve.deadline_s),
        "@GENERATE_AGAIN_S@": _time(AGAIN_SHARE * serve.generate.wait_s),
        "@AGAIN_S@": str(AGAIN_S),
        "@NONE@": _problem(),
    }
    filled = TEMPLATE.read_text(encoding="utf-8")
    for mark, value in values.items():
        filled = filled.replace(mark, value)
    return filled


def head(host: Host, settings: Settings) -> Head:
    """Who gets which share now, and whether a canary's ended by itself. Raises as Host.run."""
    lines = read(host, settings.rollout.server.nginx).splitlines()
    said = [next((line.removeprefix(mark) for line in lines if line.startswith(mark)), "") for mark in (MARK, CANARY)]
    return Head(json.loads(said[0] or "{}"), next((one for one in get_args(Watch) if one == said[1]), "none"))


def shares(host: Host, settings: Settings) -> dict[Side, float]:
    """Who gets which share now; empty before the first rollout. Raises as Host.run."""
    return head(host, settings).shares


def route(host: Host, settings: Settings, traffic: Traffic) -> None:
    """Split the requests so, from the moment this returns; those under way end where they began.

    Raises:
        RolloutFailed: nginx refuses the file (that before is back), or does not take it over.
        EngineUnavailable: the machine does not answer.
    """
    put(host, settings, text(settings, traffic))


def tries(host: Host, settings: Settings, traffic: Traffic) -> None:
    """As `route`, and all requests go to the other side than `traffic.to` once nobody looks any more (server_unwatched)."""
    live = next(side for side in SIDES if side != traffic.to)
    alone = traffic.model_copy(update={"to": live, "share": 1.0})
    put(host, settings, text(settings, traffic, "watched"), text(settings, alone, "lapsed"))


def close(host: Host, settings: Settings) -> None:
    """Take the file away: nobody is answered. Raises as `route`."""
    if shell(host, "command -v nginx || :"):
        put(host, settings, "")


def drain(host: Host, settings: Settings) -> None:
    """Return once no caller is left whose request nginx took before it was last told who answers: one that is slow to send is passed on
    as it was split then, and finds whoever was stopped meanwhile gone. No longer than a request may take. Raises as Host.run."""
    limit_s = settings.serve.client_timeout_s + settings.serve.deadline_s + SPARE_S
    shell(host, _DRAIN, f"{limit_s / DRAIN_LOOKS_S:.0f}", f"{DRAIN_LOOKS_S:g}", limit_s=limit_s + LIMIT_S)


_DRAIN = """
left=$1 main=$(systemctl show nginx -p MainPID --value)
while [ "$left" -gt 0 ] && [ "$main" != 0 ] && pgrep -P "$main" -f 'shutting down' >/dev/null; do
    left=$((left - 1))
    sleep "$2"
done
"""


def _upstream(traffic: Traffic, side: Side) -> str:
    """A candidate's requests may be answered by those that serve already, never the other way round."""
    own = [f"    server 127.0.0.1:{one.port} {ALWAYS_ASKED};" for one in traffic.of(side)]
    others = [one for one in traffic.instances if one.side != side] if side == traffic.to and traffic.share < 1 else []
    spare = [f"    server 127.0.0.1:{one.port} {ALWAYS_ASKED} backup;" for one in others]
    ends = ["    keepalive 32;", "    keepalive_timeout 4s;"]  # the service hangs up after 5 s
    body = [f"    zone tingsu_{side} 256k;", "    least_conn;", *own, *spare, *ends]
    return "\n".join([f"upstream tingsu_{side} {{", *body, "}"])


def _split(traffic: Traffic) -> str:
    other = next(side for side in SIDES if side != traffic.to)
    if traffic.share <= 0:
        return f"    * tingsu_{other};"
    if traffic.share >= 1:
        return f"    * tingsu_{traffic.to};"
    return f"    {traffic.share:.2%} tingsu_{traffic.to};\n    * tingsu_{other};"


def _time(seconds: float) -> str:
    """0 would be for ever."""
    return f"{max(round(1000 * seconds), 1)}ms"


def _problem() -> str:
    """What a caller is told where no instance answers, as the service would say it."""
    code, (en, zh) = "none_answers", say("none_answers", seconds=AGAIN_S)
    said = {
        "type": f"urn:tingsu:problem:{code}",
        "title": code.replace("_", " "),
        "status": 503,
        "detail": en,
        "detail_zh": zh,
        "code": code,
        "request_id": "$request_id",
        "errors": [],
    }
    return json.dumps(said, ensure_ascii=False)
