"""The table of faults: command, what is wrong, how it exits, and a part of the one sentence it says."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from data_contracts.samples import generate
from data_contracts.taxonomy import DEFAULT
from tests.killer import PLAN, Plan
from tests.tiny import write_base

ROOT = Path(__file__).parent.parent.parent

Do = Callable[["Scene"], None]


@dataclass
class Scene:
    """Where a row plays: a home of its own, a folder for its files, and what its command is told."""

    home: Path
    folder: Path
    places: dict[str, str]

    def env(self) -> dict[str, str]:
        """What a command runs in: this home, the one Prefect server of all rows, and no credentials of the caller."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env |= {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true"}
        return env | {"PREFECT_API_URL": self.places["prefect"]}


@dataclass(frozen=True)
class Fault:
    """One row; `sentence` is looked for on stdout where the command does what it was told.

    `command` and `env` may name places (`{file}`); `home`: `empty` or `released` (one champion, one HOLD)."""

    what: str
    command: str
    code: int
    sentence: str
    do: Do = lambda scene: None
    home: str = "empty"
    env: dict[str, str] = field(default_factory=dict)
    answers: bool = False  # on stdout, as the command always does
    slow: bool = False


def records(count: int = 300, seed: int = 5) -> list[dict[str, object]]:
    return [dict(record) for record in generate(count, seed)]


def lines(name: str, change: Callable[[list[dict[str, object]]], list[dict[str, object]]] = lambda r: r) -> Do:
    """A JSONL file of sample calls, changed."""

    def do(scene: Scene) -> None:
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in change(records()))
        (scene.folder / name).write_text(text, encoding="utf-8")

    return do


def table(name: str, encoding: str) -> Do:
    def do(scene: Scene) -> None:
        rows = [
            {k: r[k] for k in ("conversation_id", "customer_id", "complaint_category")} | {"text": text(r)}
            for r in records()
        ]
        with (scene.folder / name).open("w", encoding=encoding, newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return do


def text(record: dict[str, object]) -> str:
    turns = record["turns"]
    assert isinstance(turns, list)
    return "\n".join(f"{turn['speaker']}：{turn['text']}" for turn in turns)


def content(name: str, data: bytes) -> Do:
    def do(scene: Scene) -> None:
        (scene.folder / name).write_bytes(data)

    return do


def taxonomy(change: Callable[[dict[str, object]], object]) -> Do:
    """A file of calls and a taxonomy, changed."""

    def do(scene: Scene) -> None:
        lines("calls.jsonl")(scene)
        tree = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
        change(tree)
        (scene.folder / "taxonomy.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")

    return do


def code(at: int, value: str) -> Do:
    def change(tree: dict[str, object]) -> None:
        tree["categories"][at]["code"] = value  # type: ignore[index]

    return taxonomy(change)


def one_byte(scene: Scene) -> None:
    file = Path(scene.places["bundle"]) / "model/model.safetensors"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(bytes(data))


def cut_file(scene: Scene) -> None:
    file = Path(scene.places["bundle"]) / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def verdict_edited(scene: Scene) -> None:
    file = Path(scene.places["bundle"] + ".attest") / "verdict.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"tiny"', '"qwen3-0.6b"'), encoding="utf-8")


def verdict_gone(scene: Scene) -> None:
    shutil.rmtree(scene.places["bundle"] + ".attest")


def remove(name: str) -> Do:
    def do(scene: Scene) -> None:
        path = scene.home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def put(name: str, data: bytes = b"") -> Do:
    """A file in the home."""

    def do(scene: Scene) -> None:
        path = scene.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return do


def history_edited(scene: Scene) -> None:
    file = scene.home / "history.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"tester"', '"mallory"', 1), encoding="utf-8")


def history_cut(scene: Scene) -> None:
    file = scene.home / "history.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))


def shut(place: str, mode: int) -> Do:
    def do(scene: Scene) -> None:
        path = Path(scene.places.get(place, scene.folder / place))
        if not path.exists():
            path.write_text("x\n")
        path.chmod(mode)

    return do


def folder(name: str) -> Do:
    return lambda scene: (scene.folder / name).mkdir()


def real_data(scene: Scene) -> None:
    from deploy.store import FolderStore
    from tests.tasks.released import DATASET

    made = scene.folder / "dataset"
    made.mkdir()
    (made / "manifest.json").write_text(DATASET.model_copy(update={"synthetic": False}).model_dump_json())
    FolderStore(scene.home / "store").commit(made, DATASET.key)


def two_datasets(scene: Scene) -> None:
    from deploy.store import FolderStore
    from tests.tasks.released import DATASET

    for end in "ab":
        made = scene.folder / end
        made.mkdir()
        own = DATASET.model_copy(update={"id": DATASET.id[:-1] + end, "key": DATASET.key[:-1] + end, "name": end})
        (made / "manifest.json").write_text(own.model_dump_json())
        FolderStore(scene.home / "store").commit(made, own.key)


def pickled(scene: Scene) -> None:
    base = scene.folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "pytorch_model.bin").write_bytes(b"\x80\x04")
    one_dataset(scene)


def two_tokens(scene: Scene) -> None:
    one_dataset(scene, "complaint about")


def one_dataset(scene: Scene, first_code: str = "A") -> None:
    from data_contracts.taxonomy import load
    from deploy.store import FolderStore
    from tests.tasks.released import DATASET

    made = scene.folder / "dataset"
    made.mkdir()
    (made / "manifest.json").write_text(DATASET.model_dump_json())
    (made / "taxonomy.json").write_text(load().model_dump_json().replace('"code":"A"', f'"code":"{first_code}"'))
    FolderStore(scene.home / "store").commit(made, DATASET.key)


def checkpoint_damaged(scene: Scene) -> None:
    """A training that was killed after two checkpoints, of which the newer one has lost its last byte since."""
    lines("calls.jsonl")(scene)
    write_base(scene.folder / "base")
    env = scene.env() | {PLAN: json.dumps(Plan(r"open w .*/checkpoint-6/"))}
    submit, retrain = ([*words.format(**scene.places).split()] for words in (SUBMIT, RETRAIN))
    for module, words, code in (("flows", submit, 0), ("tests.killer", ["flows", *retrain], -9)):
        done = subprocess.run([sys.executable, "-P", "-m", module, *words], env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
    (file,) = (scene.home / "store").rglob("checkpoint-4/adapter_model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


def keep(count: int) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    return lambda records: records[:count]


def same(**cells: object) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    return lambda records: [r | cells for r in records]


def renamed(old: str, new: str) -> Callable[[list[dict[str, object]]], list[dict[str, object]]]:
    return lambda records: [{new if k == old else k: v for k, v in r.items()} for r in records]


def second_line_broken(scene: Scene) -> None:
    lines("calls.jsonl")(scene)
    file = scene.folder / "calls.jsonl"
    rows = file.read_text(encoding="utf-8").splitlines()
    half = len(rows) // 2
    file.write_text("\n".join([row[:20] if i < half else row for i, row in enumerate(rows)]) + "\n", encoding="utf-8")


SUBMIT = "submit {folder}/calls.jsonl"
OWN = SUBMIT + " --taxonomy {folder}/taxonomy.yaml"
DEAD = "http://127.0.0.1:9"
RETRAIN = "retrain --set train.base_model={folder}/base --set train.epochs=1 --set train.checkpoint_steps=2"

FAULTS = (
    # a file of calls
    Fault("file missing", SUBMIT, 2, "calls.jsonl' cannot be read: No such file or directory; give the path"),
    Fault("a folder instead of a file", SUBMIT, 2, "cannot be read: it is a folder", folder("calls.jsonl")),
    Fault("file not readable", SUBMIT, 2, "cannot be read: Permission denied", shut("calls.jsonl", 0)),
    Fault("file empty", SUBMIT, 3, "calls.jsonl is empty; it needs a call a row", content("calls.jsonl", b"")),
    Fault(
        "header only",
        "submit {folder}/c.csv",
        3,
        "has a header and no rows",
        content("c.csv", b"text,complaint_category\n"),
        slow=True,
    ),
    Fault(
        "wrong extension",
        "submit {folder}/c.pdf",
        3,
        "is of another kind: PDF; export the calls as CSV, JSONL or Parquet",
        content("c.pdf", b"%PDF"),
    ),
    Fault(
        "Excel workbook",
        "submit {folder}/c.xlsx",
        3,
        "save the sheet as 'CSV UTF-8'",
        content("c.xlsx", b"PK\x03\x04x"),
    ),
    Fault(
        "Parquet cut short",
        "submit {folder}/c.parquet",
        3,
        "may be cut short; export it again",
        content("c.parquet", b"PAR1xx"),
    ),
    Fault("one JSON array", SUBMIT, 3, "write one object a line", content("calls.jsonl", b'[{"input_text": "x"}]')),
    Fault(
        "neither UTF-8 nor GBK",
        "submit {folder}/c.csv",
        3,
        "neither UTF-8 (byte",
        content("c.csv", b"text,complaint_category\n\xff\xff\x81\n"),
        slow=True,
    ),
    Fault("half the JSON lines broken", SUBMIT, 3, "not_json ×150", second_line_broken, slow=True),
    Fault(
        "wrong column",
        SUBMIT,
        3,
        "say which column it is: --map complaint_category=label",
        lines("calls.jsonl", renamed("complaint_category", "label")),
    ),
    Fault(
        "--map names no column", SUBMIT + " --map input_text=nowhere", 2, "'nowhere'", lines("calls.jsonl"), slow=True
    ),
    Fault(
        "unknown category",
        SUBMIT,
        3,
        "unknown_category ×300",
        lines("calls.jsonl", same(complaint_category="nonsense")),
        slow=True,
    ),
    Fault(
        "one category only",
        SUBMIT,
        3,
        "the accepted calls have 1 category, at least 2 are needed",
        lines("calls.jsonl", same(complaint_category="not_complaint")),
        slow=True,
    ),
    Fault(
        "three rows",
        SUBMIT,
        3,
        "3 calls were accepted, at least 200 are needed. Read",
        lines("calls.jsonl", keep(3)),
        slow=True,
    ),
    Fault(
        "every id twice", SUBMIT, 3, "duplicate_id ×299", lines("calls.jsonl", same(conversation_id="c-1")), slow=True
    ),
    Fault(
        "GBK",
        "submit {folder}/c.csv --set data.min_rows_per_category=2",
        0,
        "300 rows = 300 accepted",
        table("c.csv", "gbk"),
    ),
    Fault(
        "byte order mark",
        "submit {folder}/c.csv --set data.min_rows_per_category=2",
        0,
        "300 rows = 300 accepted",
        table("c.csv", "utf-8-sig"),
        slow=True,
    ),
    # a taxonomy
    Fault("taxonomy missing", OWN, 2, "taxonomy.yaml does not exist", lines("calls.jsonl")),
    Fault(
        "taxonomy not YAML",
        OWN,
        2,
        "is not UTF-8 YAML",
        lambda s: (lines("calls.jsonl")(s), content("taxonomy.yaml", b"a: [")(s))[0],
    ),
    Fault(
        "taxonomy a folder", OWN, 2, "taxonomy.yaml", lambda s: (lines("calls.jsonl")(s), folder("taxonomy.yaml")(s))[0]
    ),
    Fault("one code for two categories", OWN, 2, "code 'A' stands for two categories", code(1, "A")),
    Fault("a full-width twin of a code", OWN, 2, "looks like another category's, in full width", code(1, "Ａ")),
    Fault("unknown key in the taxonomy", OWN, 2, "colour", taxonomy(lambda tree: tree.update(colour="red"))),
    Fault(
        "none_key no category",
        OWN,
        2,
        "none_key 'nix' is no category",
        taxonomy(lambda tree: tree.update(none_key="nix")),
    ),
    # settings
    Fault("unknown profile", "retrain --profile huge", 2, "profile 'huge' is unknown; allowed: tiny"),
    Fault("unknown overlay", "retrain --overlay staging", 2, "overlay 'staging' is unknown"),
    Fault("--set without =", "datasets --set train.epochs", 2, "write it as section.key=value"),
    Fault("negative setting", "datasets --set train.epochs=-1", 2, "setting 'train.epochs' = -1"),
    Fault("not a number", "datasets --set train.learning_rate=.nan", 2, "setting 'train.learning_rate' = nan"),
    Fault("infinite", "datasets --set benchmark.rate_qps=.inf", 2, "setting 'benchmark.rate_qps' = inf"),
    Fault("threshold not a number", "datasets --set gate.bounds=[{{metric:macro_f1,at_least:.nan}}]", 2, "at_least"),
    Fault(
        "store of an unknown kind", "datasets --set store.url=ftp://host/x", 2, "store.url 'ftp://host/x' is neither"
    ),
    # places and services
    Fault(
        "home is a file",
        "datasets",
        2,
        "TINGSU_HOME={folder}/home is a file",
        content("home", b""),
        env={"TINGSU_HOME": "{folder}/home"},
    ),
    Fault(
        "home not writable",
        "datasets",
        1,
        "Mend the permissions",
        shut("folder", 0o500),
        env={"TINGSU_HOME": "{folder}/home"},
    ),
    Fault(
        "S3 without credentials",
        "datasets --set store.url=s3://bucket",
        1,
        "Unable to locate credentials. Check store.url",
    ),
    Fault(
        "S3 bucket missing",
        "datasets --set store.url=s3://nowhere --set store.endpoint_url={s3}",
        1,
        "NoSuchBucket",
        env={"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"},
    ),
    Fault("MLflow dead", f"models --set mlflow.uri={DEAD}", 1, f"MLflow at {DEAD} does not answer"),
    Fault(
        "MLflow database damaged", "models", 1, "file is not a database", put("mlflow/mlflow.db", b"no database" * 99)
    ),
    Fault(
        "Prefect dead",
        SUBMIT,
        1,
        f"Prefect at {DEAD}/api (PREFECT_API_URL) does not answer",
        lines("calls.jsonl"),
        env={"PREFECT_API_URL": f"{DEAD}/api"},
    ),
    Fault(
        "up on a port that is taken",
        "up --set ports.prefect={web_port} --set ports.mlflow={web_port}",
        4,
        "port {web_port} is held by",
        put("prefect/database-made"),
    ),
    Fault("nothing to talk to", f"classify 你好 --url {DEAD}", 4, f"{DEAD}/api/v1/classify does not answer"),
    Fault("classify elsewhere", "classify 你好 --url {web}", 4, "is it a Tingsu service?"),
    Fault("verify elsewhere", "verify {web}", 4, "is it a Tingsu service?", answers=True),
    Fault("no URL", "verify nonsense", 2, "'nonsense' is not a URL"),
    # datasets and bases
    Fault("no dataset yet", "retrain", 2, "no dataset of family 'complaints' yet"),
    Fault(
        "unknown dataset",
        "retrain --dataset zzz",
        2,
        "there is no dataset 'zzz', by its name or the beginning of its id; there are: ",
        two_datasets,
    ),
    Fault("ambiguous dataset", "retrain --dataset ddd", 2, "dataset 'ddd' stands for 2 datasets", two_datasets),
    Fault(
        "base folder missing",
        "retrain --set train.base_model=/no/base",
        2,
        "train.base_model '/no/base' is no folder",
        one_dataset,
    ),
    Fault(
        "pickled base",
        "retrain --set train.base_model={folder}/base",
        1,
        "only pickled .bin weights, which are never loaded",
        pickled,
        slow=True,
    ),
    Fault(
        "a profile that only generates",
        "retrain --profile qwen3-4b-thinking",
        2,
        "is for slot 'generate'; only profiles of 'classify'",
        one_dataset,
    ),
    Fault("a code of two tokens", "retrain", 1, "it must be exactly one. Choose another code", two_tokens),
    Fault(
        "a bound on nothing",
        "retrain --set gate.bounds=[{{metric:speed,at_least:1}}]",
        2,
        "speed",
        one_dataset,
        slow=True,
    ),
    Fault(
        "checkpoint damaged",
        RETRAIN,
        3,
        "checkpoint-4: not whole (killed while saving, or damaged since); training goes on from checkpoint-2",
        checkpoint_damaged,
        answers=True,
        slow=True,
    ),
    Fault(
        "signing key garbled",
        "retrain",
        2,
        "gate.pem cannot be read as a private key; restore it from your backup",
        lambda s: (one_dataset(s), put("keys/gate.pem", b"nonsense")(s))[0],
    ),
    Fault("demo beside real data", "demo", 2, "holds real data (三月)", real_data),
    # versions
    Fault("promote an unknown version", "promote 9", 2, "complaints has no version 9; versions: 1, 2", home="released"),
    Fault("why an unknown version", "why 9", 2, "version 9 is not in", home="released"),
    Fault("gate an unknown version", "gate 9", 2, "has no version 9", home="released", slow=True),
    Fault("compare with an unknown version", "compare 1 9", 2, "has no version 9", home="released", slow=True),
    Fault("promote a HOLD", "promote 2", 3, "is HOLD, and only PROMOTE", home="released"),
    Fault(
        "rollback without a previous version",
        "rollback --why regret",
        3,
        "has no previous version to return to",
        home="released",
    ),
    Fault(
        "bundle with one byte changed",
        "promote 1 --dry-run",
        1,
        "model.safetensors does not match its digest",
        one_byte,
        home="released",
    ),
    Fault("bundle cut off", "serve --bundle {bundle}", 1, "is missing or has", cut_file, home="released"),
    Fault(
        "bundle with one byte changed, served",
        "serve --bundle {bundle}",
        1,
        "does not match its digest",
        one_byte,
        home="released",
    ),
    Fault(
        "verdict edited", "promote 1 --dry-run", 3, "was changed after it was signed", verdict_edited, home="released"
    ),
    Fault(
        "verdict edited, shown",
        "gate 1",
        3,
        "was changed after it was signed",
        verdict_edited,
        home="released",
        slow=True,
    ),
    Fault("no verdict", "serve --bundle {bundle}", 3, "has no verdict", verdict_gone, home="released"),
    Fault(
        "public key missing", "promote 1 --dry-run", 2, "gate.pub is missing", remove("keys/gate.pub"), home="released"
    ),
    Fault(
        "signing keys lost",
        "promote 1 --dry-run",
        3,
        "is not signed by the key this home trusts",
        remove("keys"),
        home="released",
        slow=True,
    ),
    Fault("history edited", "history", 1, "line 1 was changed", history_edited, home="released"),
    Fault("history cut", "history", 1, "its tail was cut", history_cut, home="released"),
    Fault(
        "history garbled",
        "why 1",
        1,
        "history.jsonl line 1 is not a history line",
        put("history.jsonl", b"{\n"),
        home="released",
    ),
    Fault(
        "port held",
        "serve --bundle {bundle} --port {web_port}",
        4,
        "cannot listen on 127.0.0.1:{web_port}",
        home="released",
    ),
    Fault(
        "no such bundle",
        "serve --bundle {folder}/none",
        2,
        "none' is not a folder on this machine; give that of a bundle",
        home="released",
    ),
    Fault(
        "MODEL_PATH and --bundle",
        "serve --bundle {bundle}",
        3,
        "has no verdict at {bundle}.attest",
        verdict_gone,
        home="released",
        env={"MODEL_PATH": "/elsewhere"},
    ),
    Fault("MODEL_PATH alone", "serve", 2, "'/elsewhere' is not a folder", env={"MODEL_PATH": "/elsewhere"}),
    Fault("no champion", "serve", 3, "there is no champion to serve", slow=True),
    Fault(
        "no way to a cluster",
        "deploy --target kubernetes --set rollout.kubernetes.kubeconfig=/nowhere",
        2,
        "there is no way to a cluster: Invalid kube-config file",
        home="released",
    ),
    Fault(
        "approve what does not wait",
        "approve 1 --why reviewed",
        1,
        "version 1 does not wait for approval on local",
        home="released",
    ),
    Fault("reject without a reason", "reject 1 --why=", 2, "say why, the history keeps it"),
    Fault("undo where nothing was rolled out", "undo", 1, "no version served on local; nothing was touched"),
    # no fault at all
    Fault(
        "spaces and Chinese in the path", "datasets", 0, "no datasets yet", env={"TINGSU_HOME": "{folder}/听诉 的 家"}
    ),
    Fault(
        "LANG=C",
        "gate 1",
        0,
        "PROMOTE",
        home="released",
        env={"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    Fault("down where nothing runs", "down", 0, "nothing was running"),
)
