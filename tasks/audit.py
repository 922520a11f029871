"""Where history, aliases, verdicts and what is live disagree, a sentence each; nothing if all is well."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from data_contracts.artifacts import BundleRef, Version
from data_contracts.errors import BundleCorrupt, GateRefused
from tasks import history, versions
from tasks.history import Entry
from tasks.versions import HEAD, Registry, registered

TIMEOUT_S = 5.0


def audit(at: Registry) -> tuple[str, ...]:
    """What does not fit together between history, aliases and verdicts."""
    try:
        versions.champion(at)
        entry = versions.standing(at)
    except (GateRefused, BundleCorrupt) as error:
        return (str(error),)
    if entry is None:
        return ()
    with at.tracker.client() as client:
        model = registered(client, at.name)
    return _strays(at.name, entry, {alias: int(number) for alias, number in model.aliases.items()} if model else {})


def glance(at: Registry, live: int) -> tuple[str, ...]:
    """As `audit`, and whether the champion is version `live`; from the history, the store and one request.

    MLflow's own client, whose import alone takes seconds, is used only for a server that is not ours. Where none runs the
    aliases are not looked at: the history counts.
    """
    if at.tracker.settings.uri:
        return (*audit(at), *_cut_off(versions.standing(at), live))
    aliases, head = _mirror(at.tracker.uri_override or "", at.name)
    broken = history.verify(at.home, head)
    if broken:
        return (broken,)
    entry = history.standing(history.read(at.home))
    strays = _strays(at.name, entry, aliases) if entry and aliases is not None else ()
    return (*_fallen(at, entry), *strays, *_cut_off(entry, live))


def _strays(name: str, entry: Entry, aliases: Mapping[str, int]) -> tuple[str, ...]:
    """Aliases that are not where the history says."""
    said = {"champion": entry.event.version, "previous": entry.event.detail.get("previous_version")}
    return tuple(
        f"alias {alias!r} of {name} is on version {aliases.get(alias)}, the history says {number}, and the history counts: "
        f"the alias was moved by hand, or a move was cut off; `./tingsu promote {entry.event.version}` puts it back"
        for alias, number in said.items()
        if aliases.get(alias) != number
    )


def _fallen(at: Registry, entry: Entry | None) -> tuple[str, ...]:
    """The champion's verdict, if it no longer holds."""
    if entry is None or entry.event.version is None:
        return ()
    digest = entry.event.bundle_digest
    ref = BundleRef(digest=digest, key=f"bundles/{digest}", synthetic=False)
    try:
        versions.admitted(
            at, Version(name=at.name, version=entry.event.version, run_id="", bundle=ref, decision="PROMOTE")
        )
    except GateRefused as error:
        return (str(error),)
    return ()


def _cut_off(entry: Entry | None, live: int) -> tuple[str, ...]:
    number = entry.event.version if entry else None
    if number == live:
        return ()
    now = f"version {number}" if number is not None else "none"
    back = entry is not None and entry.event.detail.get("previous_version") == live
    ends = f"`./tingsu {'rollback --to' if back else 'promote'} {live}` ends it"
    return (f"version {live} is live, the champion is {now}: a release was cut off; {ends}",)


def _mirror(server: str, name: str) -> tuple[Mapping[str, int] | None, str]:
    """Aliases and the history's newest line as the server `up` started knows them; None and "" if it does not answer."""
    url = f"{server}/api/2.0/mlflow/registered-models/get?{urllib.parse.urlencode({'name': name})}"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S) as response:
            model = json.loads(response.read())["registered_model"]
    except (urllib.error.URLError, OSError, ValueError):
        return None, ""
    tags = {tag["key"]: tag["value"] for tag in model.get("tags", ())}
    return {found["alias"]: int(found["version"]) for found in model.get("aliases", ())}, tags.get(HEAD, "")
