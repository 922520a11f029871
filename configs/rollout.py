"""Settings of a rollout: the canary, and each target."""

from typing import Literal

from pydantic import Field, model_validator

from configs.section import Port, Section, Share


class Tolerance(Section):
    """How much worse a candidate may be than the champion, and how much is to be found out; between the two it may go either way."""

    tolerated: float = Field(ge=0, lt=1)
    detected: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _rises(self) -> "Tolerance":
        if self.detected <= self.tolerated:
            raise ValueError(f"detected {self.detected} is not above tolerated {self.tolerated}; raise it")
        return self


class CanaryStep(Section):
    """`weight` of the traffic goes to the candidate until it has answered `calls` requests and `seconds` have passed."""

    weight: float = Field(gt=0, lt=1)
    calls: int = Field(ge=50)
    seconds: float = Field(default=0.0, ge=0)


class CanarySettings(Section):
    """How a candidate is tried on live traffic without labels, on a target that can split it. No steps: it is not.

    Both sides are looked at every `look_every_s`. A canary that after `longest_s` has not seen the requests its steps ask for is
    undone: too little traffic to tell. `mirror_share` of what the champion answers is asked of the candidate too, where nobody waits.
    On targets local and server a candidate that nobody looked at for `unwatched_s`, since its controller died, has no traffic any more.

    `alpha`: share of healthy candidates that may be undone by mistake, over all steps and signals. `block_requests`: of each side,
    looked at together. `latency_ratio`: p50 and p95 may be so many times the champion's. Shares and means, candidate less
    champion: `errors` (of requests; what is refused with 4xx counts as well), `category_mix` (points of calls that change category),
    `confidence` and `label_mass` (means), `abstention` (calls sent to review); `disagreement`: of calls that both were asked.
    """

    steps: tuple[CanaryStep, ...] = ()
    look_every_s: float = Field(default=5.0, gt=0)
    longest_s: float = Field(default=86400.0, gt=0)
    unwatched_s: float = Field(default=600.0, gt=0)
    mirror_share: Share = 0.1
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    block_requests: int = Field(default=25, ge=10)
    latency_ratio: float = Field(default=1.5, ge=1)
    errors: Tolerance = Tolerance(tolerated=0.005, detected=0.02)
    category_mix: Tolerance = Tolerance(tolerated=0.0025, detected=0.05)
    confidence: Tolerance = Tolerance(tolerated=0.02, detected=0.05)
    abstention: Tolerance = Tolerance(tolerated=0.02, detected=0.06)
    label_mass: Tolerance = Tolerance(tolerated=0.01, detected=0.03)
    disagreement: Tolerance = Tolerance(tolerated=0.10, detected=0.15)


class TlsSettings(Section):
    """nginx answers callers in TLS (1.2 and 1.3) on `port`. `certificate` (its chain after it) and `key` are PEM files on the server
    that root can read; they are not copied: whoever renews them has nginx reload."""

    certificate: str = Field(pattern=r"^/[\w./@-]+$")
    key: str = Field(pattern=r"^/[\w./@-]+$")
    port: Port = 443


class ServerSettings(Section):
    """A Linux server with systemd and nginx. `host`: empty for this machine, else what `ssh` is given: NAME or USER@NAME, with
    keys and a known host; `ssh_options` go before it. Root is needed there, or `sudo` without a password.

    nginx answers on `serve.host` and `ports.service`; with `tls` on its port, and then on `ports.service` of loopback only. Behind it
    are two sides of `instances` each, on every second loopback port from `ports_from` on. `root` holds all that is installed:
    releases (the last `kept`, and those in use), instances, environment. `python`: an interpreter there with the packages of group
    serve, which `user` can reach; empty: an environment is made, once for each constraints.txt. `nginx`: the file its main file
    includes. `memory_mb`, `cpus`: of one instance.
    """

    host: str = Field(default="", pattern=r"^([\w.][\w.-]*@)?[A-Za-z0-9][\w.:-]*$|^$")
    ssh_options: tuple[str, ...] = ()
    instances: int = Field(default=2, ge=1, le=32)
    ports_from: int = Field(default=8101, ge=1024, le=65000)
    root: str = Field(default="/opt/tingsu", pattern=r"^(/\w[\w.-]*){2,}$")
    user: str = Field(default="tingsu", pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    python: str = Field(default="", pattern=r"^(/[^\s\"'$]+)?$")
    nginx: str = Field(default="/etc/nginx/conf.d/tingsu.conf", pattern=r"^/[\w./-]+\.conf$")
    tls: TlsSettings | None = None
    kept: int = Field(default=3, ge=1, le=100)
    memory_mb: int | None = Field(default=None, ge=256)
    cpus: float | None = Field(default=None, gt=0)


class KubernetesSettings(Section):
    """For rollout.target kubernetes: where to, with which values of the chart deploy/helm/tingsu, and how traffic is split there.

    `kubeconfig`: empty for kubectl's own, else for the pod this runs in. `values`: files, from the root or from TINGSU_HOME on; what
    they say of sides and weights does not count. `split`: gateway (HTTPRoute), replicas (pods counted out) or switch (all or nothing,
    so no canary steps). `url`: where callers reach it, for the record; empty: the entry Service's name in the cluster.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = Field(default="tingsu", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    release: str = Field(default="tingsu", pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")
    values: tuple[str, ...] = ()
    split: Literal["gateway", "replicas", "switch"] = "switch"
    start_timeout_s: float = Field(default=900.0, gt=0)
    url: str = ""


class RolloutSettings(Section):
    """Where a promoted version goes and how long a start may take.

    `approval`: `required` lets no traffic to a candidate, staged and verified, before a person approves it with a reason.
    `keep_previous`: the version before stays loaded beside the live one, so that going back takes seconds; it takes its memory.
    `replace_keys`: the keys of callers and operators that another home gave the target give way to this home's; where not, such a rollout
    is refused.
    `ollama_model`: what a version is called in the Ollama at serve.ollama_url, for target ollama.
    """

    target: Literal["local", "server", "kubernetes", "ollama"] = "local"
    verify_timeout_s: float = Field(default=120.0, gt=0)
    drain_s: float = Field(default=10.0, ge=0)
    keep_previous: bool = True
    approval: Literal["none", "required"] = "none"
    replace_keys: bool = False
    ollama_model: str = Field(default="tingsu", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    canary: CanarySettings = CanarySettings()
    server: ServerSettings = ServerSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
