"""Why a version is live, for an auditor: its standing, evidence bound by bound, who and when, and how to undo it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from data_contracts.artifacts import Emergency, Verdict
from data_contracts.errors import WrongRequest
from data_contracts.messages import told
from tasks.history import FILE, Entry, accepted, read, standing, verify


def answer(home: Path, version: int, language: Literal["en", "zh"] = "en") -> str:
    """The whole case of one version, from the history alone; works without MLflow.

    Raises:
        WrongRequest: the history has no such version.
    """
    entries = read(home)
    own = [e for e in entries if e.event.version == version]
    if not own:
        known = (
            ", ".join(str(v) for v in sorted({e.event.version for e in entries if e.event.version is not None}))
            or "none"
        )
        raise WrongRequest(told("history_no_version", version=version, path=home / FILE, known=known))
    say = _WORDS[language]
    champion = standing(entries)
    judged = [e for e in own if "verdict" in e.event.detail]
    shown = _shown(entries, version)
    lines = [_standing_line(say, version, own[-1], champion)]
    lines += _evidence(say, shown, language) if shown else [say["no_verdict"]]
    lines += [_emergency_line(say, e) for e in own if e.event.kind == "emergency"]
    lines += [_later_line(say, e) for e in judged if shown and e.number > shown.number]
    lines += ["", say["record"], *(_event_line(say, e) for e in own)]
    lines += ["", _undo_line(say, version, champion)]
    problem = verify(home)
    return "\n".join([*lines, *([say["broken"].format(problem=problem)] if problem else [])])


def evidence(home: Path, version: int, language: Literal["en", "zh"]) -> list[str]:
    """What its verdict rests on: data, gold set, what it was compared with, each bound. No line about a call."""
    shown = _shown(read(home), version)
    return _evidence(_WORDS[language], shown, language) if shown else [_WORDS[language]["no_verdict"]]


def _shown(entries: tuple[Entry, ...], version: int) -> Entry | None:
    """The line with the verdict that counts."""
    judged = [e for e in entries if e.event.version == version and "verdict" in e.event.detail]
    return accepted(entries, version) or next(reversed(judged), None)


def _standing_line(say: Mapping[str, str], version: int, last: Entry, champion: Entry | None) -> str:
    if champion and champion.event.version == version:
        return say["live"].format(
            version=version, at=champion.at, by=champion.event.by, bundle=champion.event.bundle_digest
        )
    return say["not_live"].format(version=version, kind=last.event.kind, at=last.at, bundle=last.event.bundle_digest)


def _evidence(say: Mapping[str, str], entry: Entry, language: str) -> list[str]:
    verdict = Verdict.model_validate(entry.event.detail["verdict"])
    name = entry.event.detail.get("dataset", "?")
    lines = [
        say["dataset"].format(
            name=name, id=verdict.dataset_id, synthetic=say["synthetic"] if verdict.synthetic else ""
        ),
        say["gold"].format(gold=verdict.gold_digest, taxonomy=verdict.taxonomy_digest, looks=verdict.gold_looks),
        say["made"].format(profile=verdict.profile, engine=verdict.engine, quantization=verdict.quantization),
        say["against"].format(champion=verdict.champion_bundle) if verdict.champion_bundle else say["no_champion"],
        say["verdict"].format(decision=verdict.decision, at=verdict.created_at),
        f"  {verdict.sentence_en if language == 'en' else verdict.sentence_zh}",
    ]
    return lines + [f"  {b.decision:<7} {b.sentence_en if language == 'en' else b.sentence_zh}" for b in verdict.bounds]


def _emergency_line(say: Mapping[str, str], entry: Entry) -> str:
    said = Emergency.model_validate(entry.event.detail["emergency"])
    return say["emergency"].format(
        operator=said.operator, at=said.created_at, until=said.expires_at, reason=said.reason, refusal=said.refusal
    )


def _later_line(say: Mapping[str, str], entry: Entry) -> str:
    verdict = Verdict.model_validate(entry.event.detail["verdict"])
    return say["later"].format(decision=verdict.decision, at=verdict.created_at, profile=verdict.profile)


def _event_line(say: Mapping[str, str], entry: Entry) -> str:
    detail = entry.event.detail
    extra = " ".join(f"{k}={v}" for k, v in sorted(detail.items()) if isinstance(v, (str, int, float)))
    lines = [f"  {entry.number:>4}  {entry.at}  {entry.event.kind:<11} {entry.event.by}  {extra}".rstrip()]
    canary, note = detail.get("canary"), entry.event.note
    lines += [f"{'':8}{say['canary'].format(**canary)}"] if isinstance(canary, dict) else []
    return "\n".join(lines + ([f"{'':8}{note}"] if note else []))


def _undo_line(say: Mapping[str, str], version: int, champion: Entry | None) -> str:
    if champion is None or champion.event.version != version:
        return say["undo_none"]
    detail = champion.event.detail
    if champion.event.kind == "rolled_back":
        return say["undo_rollback"].format(left=detail.get("left_version"))
    before = detail.get("previous_version")
    return say["undo"].format(before=before) if before is not None else say["undo_first"]


_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "live": "Version {version} is the champion since {at}, made so by {by}. Bundle {bundle}.",
        "not_live": "Version {version} is not the champion; last event: {kind} at {at}. Bundle {bundle}.",
        "no_verdict": "No verdict was recorded for it.",
        "dataset": "Dataset: {name} (id {id}){synthetic}.",
        "synthetic": ", synthetic: its numbers say nothing about real calls",
        "gold": "Gold set: {gold}, taxonomy {taxonomy}; looks at this gold set so far: {looks}.",
        "made": "Made with profile {profile}; measured in engine {engine}, quantization {quantization}.",
        "against": "Compared with the champion of that time, bundle {champion}, on the same gold rows.",
        "no_champion": "There was no champion to compare with.",
        "verdict": "Verdict: {decision}, judged at {at}, on these bounds:",
        "emergency": "EMERGENCY VERDICT of operator {operator}, {at} to {until}: {reason}. Against it stood: {refusal}.",
        "later": "Judged again at {at} under profile {profile}: {decision}; it was promoted by the verdict above.",
        "canary": "canary: {decision} in step {step} of {steps}; champion {champion[requests]} requests, {champion[errors]} errors; "
        "candidate {candidate[requests]} requests, {candidate[errors]} errors",
        "record": "Record (history.jsonl: line, time, event, by):",
        "undo": "Undo: `./tingsu rollback` makes version {before} the champion again.",
        "undo_rollback": "Undo: `./tingsu promote {left}` makes the version this rollback left the champion again.",
        "undo_first": "Undo: no version was champion before it; `./tingsu down` stops serving it.",
        "undo_none": "Undo: nothing to undo; it is not the champion.",
        "broken": "WARNING: {problem}",
    },
    "zh": {
        "live": "版本 {version} 自 {at} 起为现行版本，由 {by} 上线。模型包 {bundle}。",
        "not_live": "版本 {version} 不是现行版本；最近一次记录：{kind}，{at}。模型包 {bundle}。",
        "no_verdict": "没有记录它的裁定。",
        "dataset": "数据集：{name}（{id}）{synthetic}。",
        "synthetic": "，合成数据：数字不代表真实通话",
        "gold": "金标集：{gold}，分类体系 {taxonomy}；该金标集已被查看 {looks} 次。",
        "made": "配置 {profile}；测量所用引擎 {engine}，量化 {quantization}。",
        "against": "与当时的现行版本（模型包 {champion}）在同一金标行上比较。",
        "no_champion": "当时没有可比较的现行版本。",
        "verdict": "裁定：{decision}，时间 {at}，逐条依据：",
        "emergency": "紧急裁定：操作员 {operator}，{at} 至 {until}，理由：{reason}。当时的拒绝原因：{refusal}。",
        "later": "{at} 按配置 {profile} 重新评判：{decision}；上线依据仍是上面的裁定。",
        "canary": "金丝雀：{decision}，第 {step}/{steps} 步；现行版本 {champion[requests]} 次请求、{champion[errors]} 次错误；"
        "候选版本 {candidate[requests]} 次请求、{candidate[errors]} 次错误",
        "record": "记录（history.jsonl：行号、时间、事件、操作人）：",
        "undo": "撤销：`./tingsu rollback` 恢复版本 {before}。",
        "undo_rollback": "撤销：`./tingsu promote {left}` 恢复回滚前的版本。",
        "undo_first": "撤销：之前没有现行版本；`./tingsu down` 停止服务。",
        "undo_none": "撤销：它不是现行版本，无需撤销。",
        "broken": "警告：{problem}",
    },
}
