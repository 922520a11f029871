"""Flow `submit`: a file of labelled calls becomes an accepted dataset, or is refused with reasons."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from data_contracts import taxonomy as taxonomies
from data_contracts.artifacts import Dataset
from data_contracts.personal import mask
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.store import sha256_file
from flows.environment import await_server
from flows.session import Session, open_session
from flows.stage import once
from tasks import accept, answer, catalog, contract, ingest, stages, teach
from tasks.stages import Work

log = logging.getLogger("tingsu")


class Submission(Frozen):
    """What is submitted. `mapping`: contract name → column of the file, where they differ."""

    file: str
    name: str
    taxonomy: Taxonomy
    mapping: dict[str, str]


@flow(name="submit", persist_result=False)
def submit(
    file: str,
    taxonomy: str | None = None,
    mapping: dict[str, str] | None = None,
    name: str | None = None,
    profile: str | None = None,
    sets: list[str] | None = None,
) -> dict[str, object]:
    """Check, mask and keep a file of calls. Paths are on the machine that runs the flow.

    Raises:
        ContractViolation: refused; the message says where report and rejects lie.
    """
    session = open_session(profile, sets=sets or ())
    words = taxonomies.load(Path(taxonomy) if taxonomy else taxonomies.DEFAULT)
    wanted = Submission(file=file, name=name or mask(Path(file).stem).text, taxonomy=words, mapping=mapping or {})
    dataset = once(keep, "accept")(session, wanted)
    await_server()
    told = describe(dataset, findings_of(session, dataset))
    create_markdown_artifact(key=f"dataset-{dataset.family}", markdown=told, description=dataset.name)
    return dataset.model_dump(mode="json")


def keep(session: Session, wanted: Submission) -> Dataset:
    """The accepted dataset; a file that was accepted before, under the same contract, is not checked again.

    Raises:
        ConfigurationError: no such file.
        ContractViolation: refused.
    """
    path = Path(wanted.file).expanduser()
    ingest.kind_of(path)
    digest = sha256_file(path)
    data = session.settings.data
    out = session.home / "submissions" / digest[:12]
    use = teach.use_of(session.settings)
    inputs: dict[str, object] = {
        "sha256": digest,
        "wanted": wanted.model_copy(update={"file": path.suffix}),
        "data": data,
        "contract": contract.digest(),
        "use": use,
    }

    def step(work: Work) -> Dataset:
        return accept.submit(path, wanted.taxonomy, wanted.mapping, wanted.name, data, work.store, out, use)

    outcome = stages.run(session.store, stages.stage_key("accept", inputs, accept), Dataset, step)
    log.info("%-24s %s", "accept", "reused" if outcome.reused else f"{outcome.seconds:.1f} s")
    return outcome.result


def findings_of(session: Session, dataset: Dataset) -> list[dict[str, Any]]:
    """What was found in the dataset's file, the gravest first."""
    folder = session.store.local(dataset.key) / catalog.ANSWER
    found: list[dict[str, Any]] = json.loads((folder / answer.SUMMARY).read_text(encoding="utf-8")).get("findings", [])
    return found


def describe(dataset: Dataset, findings: Sequence[Mapping[str, Any]] = ()) -> str:
    """The dataset and what was found in its file in markdown, for Prefect's page."""
    warning = "\n\n**Synthetic calls.**" if dataset.synthetic else ""
    rows = "\n".join(f"| {key} | {n:,} |" for key, n in dataset.categories.items())
    head = f"**{dataset.name}** `{dataset.id[:12]}`: {dataset.counted}, {dataset.groups:,} groups.{warning}"
    lines = (
        f"| {f['severity']} | {f['rows']:,} | `{f['code']}` | {_cell(f['remedy_en'])} | {_cell(f['remedy_zh'])} |"
        for f in findings
    )
    found = (
        "\n".join(["\n\n| what happened | rows | why | remedy | 办法 |", "|---|---:|---|---|---|", *lines])
        if findings
        else ""
    )
    return f"{head}{found}\n\n| category | calls |\n|---|---:|\n{rows}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
