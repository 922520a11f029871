"""Flow `submit`: a file of labelled calls becomes an accepted dataset, or is refused with reasons."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import SecretStr

from data_contracts import taxonomy as taxonomies
from data_contracts.artifacts import Dataset
from data_contracts.errors import ContractViolation, TingsuError, Told
from data_contracts.messages import Said
from data_contracts.personal import mask
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.operate import lock
from flows.environment import await_server
from flows.session import Session, open_session
from flows.stage import once
from tasks import accept, answer, catalog, contract, gold, refused, stages, submitted, teach
from tasks.stages import Work

log = logging.getLogger("tingsu")


class Submission(Frozen):
    """What is submitted. `mapping`: contract name → column of the file, where they differ."""

    file: str
    name: str
    taxonomy: Taxonomy
    mapping: dict[str, str]


class Kept(Frozen):
    """An accepted dataset, and the folder of the answer to this submission of it."""

    dataset: Dataset
    answer: str


@flow(name="submit", persist_result=False)
def submit(
    file: SecretStr,
    taxonomy: str | None = None,
    mapping: dict[str, SecretStr] | None = None,
    name: SecretStr | None = None,
    profile: str | None = None,
    sets: list[str] | None = None,
) -> dict[str, object]:
    """Check, mask and keep a file of calls: the dataset, what it should be known for, and where its report lies. Paths are on
    the machine that runs the flow. An artifact says what came of the file, accepted or refused.

    Paths, columns and names are what people make of them ("complaint of 139…"): given as secrets, as the command line does, Prefect
    records stars. What `prefect deployment run submit/on-demand --param file=…` is given in plain text, it records as it stands.

    Raises:
        ContractViolation: refused; the message says where report and rejects lie, and names the file without its folder, masked.
    """
    session = open_session(profile, sets=sets or ())
    words = taxonomies.load(Path(taxonomy) if taxonomy else taxonomies.DEFAULT)
    place = file.get_secret_value()
    wanted = Submission(
        file=place,
        name=catalog.tidied(name.get_secret_value() if name else Path(place).stem),
        taxonomy=words,
        mapping={key: column.get_secret_value() for key, column in (mapping or {}).items()},
    )
    try:
        kept = once(_keep_discreetly, "accept")(session, wanted)
    except ContractViolation as error:
        publish(f"refused-{session.settings.data.family}", describe_refusal(wanted, error), wanted.name)
        raise
    dataset, folder = kept.dataset, Path(kept.answer)
    said: dict[str, Any] = json.loads((folder / answer.SUMMARY).read_text(encoding="utf-8"))
    publish(f"dataset-{dataset.family}", describe(dataset, said), dataset.name)
    return dataset.model_dump(mode="json") | {
        "warnings": said["warnings"],
        "report": str(folder / answer.REPORT),
    }


def publish(key: str, told: str, name: str) -> None:
    """Put it on Prefect's page."""
    await_server()
    create_markdown_artifact(key=key, markdown=told, description=name)


def _keep_discreetly(session: Session, wanted: Submission) -> Kept:
    """As `keep`; Prefect records the sentence of an error, so it holds no path and no personal column."""
    try:
        return keep(session, wanted)
    except TingsuError as error:
        said = error.said if isinstance(error, Told) else Said(error.code, str(error), "")
        said = refused.discreet(said, Path(wanted.file), wanted.mapping)
        error.args = (said if isinstance(error, Told) else said.reason_en,)
        raise


def keep(session: Session, wanted: Submission) -> Kept:
    """The accepted dataset; a file that was accepted before is checked again only if something that its answer depends on is not what it
    was: the contract, the settings, the family's gold sets, the day that times are held against.

    Raises:
        ConfigurationError: no such file.
        ContractViolation: refused.
    """
    path = submitted.place(Path(wanted.file))
    seen = submitted.see(path)
    out = session.home / "submissions" / seen.digest[:12]

    def step(work: Work) -> Dataset:
        data, use = session.settings.data, teach.use_of(session.settings)
        # the same file under another name, mapping or family has its answer in the same place
        with lock.held(work.store.scratch("locks") / f"answer-{out.name}.lock"):
            made = accept.submit(path, wanted.taxonomy, wanted.mapping, wanted.name, data, work.store, out, use, seen)
            answer.copy(out, work.out / catalog.ANSWER)
        return made

    inputs = depends_on(session, wanted.model_copy(update={"file": path.suffix}), seen.digest)
    outcome = stages.run(session.store, stages.stage_key("accept", inputs, accept), Dataset, step)
    log.info("%-24s %s", "accept", "reused" if outcome.reused else f"{outcome.seconds:.1f} s")
    # not `out`, which by now may hold another answer to the same file
    return Kept(dataset=outcome.result, answer=str(session.store.local(outcome.key) / catalog.ANSWER))


def depends_on(session: Session, wanted: Submission, sha256: str) -> dict[str, object]:
    """Everything but code that the answer to a submission depends on."""
    data = session.settings.data
    return {
        "sha256": sha256,
        "wanted": wanted,
        "data": data,
        "contract": contract.digest(),
        "use": teach.use_of(session.settings),
        "gold": [one.digest for one in gold.versions(session.store, data.family)],
        "template": answer.TEMPLATE.read_text(encoding="utf-8"),
        "day": stages.now()[:10],
    }


def describe(dataset: Dataset, said: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The dataset and what was found in its file (summary.json; a merged one has none) in markdown, for Prefect's page."""
    warning = "\n\n**Synthetic calls.**" if dataset.synthetic else ""
    rows = "\n".join(f"| {key} | {n:,} |" for key, n in dataset.categories.items())
    head = f"**{dataset.name}** `{dataset.id[:12]}`: {dataset.counted}, {dataset.groups:,} groups.{warning}"
    return f"{head}{_found(said)}\n\n| category | calls |\n|---|---:|\n{rows}"


def describe_refusal(wanted: Submission, error: ContractViolation) -> str:
    """Why a file was refused, how its rows fared and what to do, in markdown; of the path only the name, masked."""
    english, chinese = (mask(text).text for text in (error.said.en, error.said.zh))
    head = f"**{wanted.name}** refused 已退回\n\n{english}\n\n{chinese}"
    if not isinstance(error, refused.Refused) or error.summary["rows"] is None:
        return head
    said = error.summary
    counts = " + ".join(f"{said[part]:,} {part}" for part in ("accepted", "quarantined", "rejected"))
    reasons = "".join(
        f"\n\n- {r['reason_en']}. {r['remedy_en']}.\n- {r['reason_zh']}。{r['remedy_zh']}。" for r in said["refusals"]
    )
    return f"{head}\n\n{said['rows']:,} rows = {counts}.{reasons}{_found(said)}"


def _found(said: Mapping[str, Any]) -> str:
    """What was found, the gravest first, as a table."""
    if not said.get("findings"):
        return ""
    lines = (
        f"| {f['severity']} | {f['rows']:,} | `{f['code']}` | {_cell(f['remedy_en'])} | {_cell(f['remedy_zh'])} |"
        for f in said["findings"]
    )
    return "\n".join(["\n\n| what happened | rows | why | remedy | 办法 |", "|---|---:|---|---|---|", *lines])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
