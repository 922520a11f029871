"""Checks a folder that `./tingsu audit export` wrote, with nothing of Tingsu: `python3 check.py`, from Python 3.8 on.

1. Every file is the one listed in SHA256SUMS (as `sha256sum -c SHA256SUMS` says too).
2. history.jsonl is one chain: each line holds the SHA-256 of the one before, and of itself; the line in head.txt, noted by another
   system than the file's, is in it.
3. Each signed verdict stands in the history, its evidence has the digest that it cites, and its bundle's list of files has the
   bundle's digest.
4. Each signature is that of a key in keys/, by openssl (1.1.1 or newer), where it is installed.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> int:
    """Print what is wrong, one line each; 0 if nothing is."""
    told: list[str] = []
    told += sums(folder)
    lines = (folder / "history.jsonl").read_bytes().split(b"\n")[:-1]
    told += chain(lines, (folder / "head.txt").read_text(encoding="utf-8").strip())
    for file in sorted(folder.glob("versions/*/line-*.json")):
        told += verdict(folder, file, lines)
    for line in told:
        print("WRONG: " + line)
    signatures = "" if shutil.which("openssl") else "; openssl is not installed, so signatures were NOT checked"
    print(f"{len(lines)} history lines, {len(told)} things wrong{signatures}")
    return 1 if told else 0


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
    for number, line in enumerate(lines, start=1):
        entry: dict[str, Any] = json.loads(line)
        digest = entry.pop("digest")
        is_next = entry["previous"] == previous and entry["number"] == number
        if not is_next or hashlib.sha256(canonical(entry)).hexdigest() != digest:
            return [f"history.jsonl line {number} was changed, inserted, or follows a removed line"]
        if head.partition(":")[0] == str(number) and head != f"{number}:{digest}":
            return [f"history.jsonl line {number} is not the one noted in head.txt"]
        previous = digest
    if head and int(head.partition(":")[0]) > len(lines):
        return ["history.jsonl ends before the line noted in head.txt: its end was cut off"]
    return []


def verdict(folder: Path, file: Path, lines: "list[bytes]") -> "list[str]":
    """What is wrong with one signed verdict."""
    said: dict[str, Any] = json.loads(file.read_bytes())
    number = int(file.stem.split("-")[1])
    detail = json.loads(lines[number - 1])["event"]["detail"]
    told = [] if said in (detail.get("verdict"), detail.get("emergency")) else ["it is not what the history line says"]
    signed = file.with_suffix(".signed")
    fields = json.loads(signed.read_bytes())
    if {**said, **fields} != said or set(said) - set(fields) - {"signature"}:
        told.append("what was signed says something else")
    evidence = file.parent / f"evidence-{said.get('report_digest')}.json"
    if evidence.exists() and sha256(evidence) != said["report_digest"]:
        told.append("its evidence has another digest than it cites")
    listing = file.parent / "bundle-files.json"
    if listing.exists():
        found = hashlib.sha256(json.dumps(json.loads(listing.read_bytes()), sort_keys=True).encode()).hexdigest()
        told += [] if found == said["bundle_digest"] else ["its bundle's list of files has another digest"]
    whose = f"operators/{said['operator']}-*.pem" if "operator" in said else "gate.pem"
    if shutil.which("openssl") and not any(is_signed(key, file) for key in sorted(folder.glob(f"keys/{whose}"))):
        told.append(f"keys/{whose} did not make its signature")
    return [f"{file.relative_to(folder).as_posix()}: {what}" for what in told]


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
