"""Checks a folder that `./tingsu audit export` wrote, with nothing of Tingsu: `python3 check.py`, from Python 3.8 on.

1. Every file is the one listed in SHA256SUMS (as `sha256sum -c SHA256SUMS` says too).
2. history.jsonl is one chain: each line holds the SHA-256 of the one before, and of itself; the line in head.txt, noted by another
   system than the file's, is in it.
3. Each release and promotion follows a PROMOTE of the gate on that bundle, or an emergency verdict in force, of an operator trusted
   then; each way back, a promotion.
4. Each verdict that the history has of the exported versions is here, as it stands there; the evidence that it cites is here and has
   the digest it cites, and its bundle's list of files has the bundle's digest.
5. Each signature is that of a key in keys/, by openssl (3.0 or newer), where it is installed.

What no folder can prove of itself is printed last, to be compared with what lies elsewhere.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

CLOCKS_DIFFER = timedelta(minutes=10)
KNOWN_KEY = "MCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU="  # RFC 8032, 7.1, test 3
KNOWN_SIGNATURE = (
    "YpHWV97sJAJIJ+acOr4BowzlSKKEdDpEXjaA19taw6wY/5tTjRbykK5n92CYTcZZSnwV6XFu0o3AJ77O6h7ECg=="  # over af 82
)

RESTS = {
    "promoted": "was promoted, and no verdict before it allows that",
    "released": "was released, and no verdict before it allows that",
    "rolled_back": "was gone back to, and was never promoted",
}
"""What rests on an earlier line, and what is wrong without that."""


def main(folder: Path) -> int:
    """Print what is wrong, one line each; 0 if nothing is."""
    try:
        told, lines = sums(folder), (folder / "history.jsonl").read_bytes().split(b"\n")
        head = (folder / "head.txt").read_text(encoding="utf-8").strip()
        broken = chain(lines, head)
        is_able = can_verify()
        told += broken or [*covered(lines[:-1]), *verdicts(folder, lines[:-1], is_able)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        print("WRONG: this is not an export, or a file of it is damaged: " + repr(error)[:200])
        return 1
    for line in told:
        print("WRONG: " + line)
    signatures = (
        "" if is_able else "; signatures were NOT checked: no openssl here that verifies Ed25519 (3.0 or newer)"
    )
    print(f"{len(lines) - 1} history lines, {len(told)} things wrong{signatures}")
    print(outside(folder, len(lines) - 1, head))
    return 1 if told else 0


def outside(folder: Path, lines: int, head: str) -> str:
    """What whoever rewrote all of the folder could not have changed too."""
    body = (folder / "keys/gate.pem").read_text(encoding="ascii").splitlines()[1]
    key = base64.b64encode(base64.b64decode(body)[12:]).decode()
    number = int(head.partition(":")[0] or 0)
    if head:
        end = f"that MLflow's tag tingsu.history_head of the model has, or had, {head}; {lines - number} lines after it rest on this file"
    else:
        end = "head.txt is empty: whether the end of the history was cut off was NOT checked"
    return f"Compare outside of this folder: that keys/gate.pub where the gate ran says {key}; {end}"


def sums(folder: Path) -> list[str]:
    """Files that are not what the list says, or not on it."""
    rows = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, _, name in (row.partition("  ") for row in rows)}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    wrong = [name for name in sorted(there & listed.keys()) if sha256(folder / name) != listed[name]]
    return [f"{name} was changed" for name in wrong] + [
        f"{name} was added or removed" for name in there ^ listed.keys()
    ]


def chain(lines: "list[bytes]", head: str) -> "list[str]":
    """Where the history does not hold together."""
    previous = "0" * 64
    if lines.pop():
        return ["history.jsonl goes on after its last line"]
    lines.append(b"")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry: dict[str, Any] = json.loads(line)
            is_plain = canonical(entry) == line  # nothing in it that is not read, such as a name twice
            digest = entry.pop("digest")
        except (ValueError, KeyError, AttributeError):
            return [f"history.jsonl line {number} is not a history line"]
        is_next = entry["previous"] == previous and entry["number"] == number
        if not is_next or not is_plain or hashlib.sha256(canonical(entry)).hexdigest() != digest:
            return [f"history.jsonl line {number} was changed, inserted, or follows a removed line"]
        if head.partition(":")[0] == str(number) and head != f"{number}:{digest}":
            return [f"history.jsonl line {number} is not the one noted in head.txt"]
        previous = digest
    if head and int(head.partition(":")[0]) > len(lines) - 1:
        return ["history.jsonl ends before the line noted in head.txt: its end was cut off"]
    return []


def covered(lines: "list[bytes]") -> "list[str]":
    """Releases and promotions that nothing before them allows, and emergency verdicts of nobody whom the history trusted then."""
    told: list[str] = []
    trusted: dict[str, str] = {}
    said: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        event, detail = entry["event"], entry["event"]["detail"]
        if event["kind"] in ("operator_trusted", "operator_revoked"):
            trusted[detail["operator"]] = detail["public_key"] if event["kind"] == "operator_trusted" else ""
        if (
            event["kind"] == "emergency"
            and trusted.get(detail["emergency"]["operator"]) != detail["emergency"]["public_key"]
        ):
            told.append(
                f"history.jsonl line {number}: an emergency verdict of an operator whose key was not trusted then"
            )
        if event["kind"] in RESTS and not any(allows(one, event, entry["at"]) for one in said):
            told.append(f"history.jsonl line {number}: version {event['version']} {RESTS[event['kind']]}")
        said.append(event)
    return told


def allows(before: "dict[str, Any]", event: "dict[str, Any]", at: str) -> bool:
    """Whether an earlier event is what a release, a promotion or a way back rests on."""
    if (before["version"], before["bundle_digest"]) != (event["version"], event["bundle_digest"]):
        return False
    if event["kind"] == "rolled_back":
        return bool(before["kind"] == "promoted")
    if "emergency" not in event["detail"]:
        judged = before["detail"].get("verdict") or {}
        is_of = judged.get("bundle_digest") == event["bundle_digest"]
        return bool(before["kind"] == "recorded" and judged.get("decision") == "PROMOTE" and is_of)
    if before["kind"] != "emergency":
        return False
    word, then = before["detail"]["emergency"], datetime.fromisoformat(at)
    begins, ends = (datetime.fromisoformat(word[name]) for name in ("created_at", "expires_at"))
    return (
        bool(word["bundle_digest"] == event["bundle_digest"]) and begins - CLOCKS_DIFFER <= then <= ends + CLOCKS_DIFFER
    )


def verdicts(folder: Path, lines: "list[bytes]", is_able: bool) -> "list[str]":
    """What is wrong with the signed verdicts of the exported versions."""
    files = {p.relative_to(folder).as_posix() for p in folder.glob("versions/*/line-*.json")}
    due = set()
    for number, line in enumerate(lines, start=1):
        event = json.loads(line)["event"]
        name = {"recorded": "verdict", "emergency": "emergency"}.get(event["kind"])
        if name in event["detail"] and (folder / f"versions/{event['version']}").is_dir():
            due.add(f"versions/{event['version']}/line-{number}-{name}.json")
    told = [f"{name} is not here, and the history has it" for name in sorted(due - files)]
    told += [f"{name} is of no such line of the history" for name in sorted(files - due)]
    return told + [one for name in sorted(files & due) for one in verdict(folder, folder / name, lines, is_able)]


def verdict(folder: Path, file: Path, lines: "list[bytes]", is_able: bool) -> "list[str]":
    """What is wrong with one signed verdict."""
    said: dict[str, Any] = json.loads(file.read_bytes())
    event = json.loads(lines[int(file.stem.split("-")[1]) - 1])["event"]
    told = [] if said == event["detail"][file.stem.split("-")[2]] else ["it is not what the history line says"]
    if said["bundle_digest"] != event["bundle_digest"]:
        told.append("it is about another bundle than its line")
    fields = json.loads(file.with_suffix(".signed").read_bytes())
    if {**said, **fields} != said or set(said) - set(fields) - {"signature"}:
        told.append("what was signed says something else")
    if "report_digest" in said:
        told += listed(file.parent / f"evidence-{said['report_digest']}.json", said["report_digest"])
    listing = file.parent / "bundle-files.json"
    if not listing.exists():
        told.append("its bundle's list of files is not here")
    elif (
        hashlib.sha256(json.dumps(json.loads(listing.read_bytes()), sort_keys=True).encode()).hexdigest()
        != said["bundle_digest"]
    ):
        told.append("its bundle's list of files has another digest")
    whose = f"operators/{said['operator']}-*.pem" if "operator" in said else "gate.pem"
    if is_able and not any(is_signed(key, file) for key in sorted(folder.glob(f"keys/{whose}"))):
        told.append(f"keys/{whose} did not make its signature")
    return [f"{file.relative_to(folder).as_posix()}: {what}" for what in told]


def listed(evidence: Path, digest: str) -> "list[str]":
    """What is wrong with the evidence that a verdict cites."""
    if not evidence.exists():
        return ["the evidence that it cites is not here"]
    return [] if sha256(evidence) == digest else ["its evidence has another digest than it cites"]


def can_verify() -> bool:
    """Whether there is an openssl that says yes to a signature that is known to hold."""
    with tempfile.TemporaryDirectory() as place:
        key, file = Path(place, "known.pem"), Path(place, "known.json")
        key.write_text(f"-----BEGIN PUBLIC KEY-----\n{KNOWN_KEY}\n-----END PUBLIC KEY-----\n", encoding="ascii")
        file.with_suffix(".signed").write_bytes(b"\xaf\x82")
        file.with_suffix(".sig").write_bytes(base64.b64decode(KNOWN_SIGNATURE))
        try:
            return is_signed(key, file)
        except OSError:  # none at all
            return False


def is_signed(key: Path, file: Path) -> bool:
    """Whether this public key made the signature beside the file."""
    asked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin"]
    asked += ["-in", str(file.with_suffix(".signed")), "-sigfile", str(file.with_suffix(".sig"))]
    return subprocess.run(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def canonical(value: "dict[str, Any]") -> bytes:
    """As it was hashed: keys in order, no escapes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
