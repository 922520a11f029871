"""The rules of the code that a reader may rely on: layers, owners of libraries, sizes, pins, files that load."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LAYERS = ("flows", "tasks", "deploy", "configs", "data_contracts")  # a layer imports only from layers to its right
MAX_LINES = 40

# Longer functions, each with its reason; at most five.
LONG: dict[str, str] = {}

# Library → the only files that know it. A `*` stays within the pattern's folder and below.
OWNERS = {
    "accelerate": ["tasks/train*.py"],
    "boto3": ["deploy/s3.py"],
    "botocore": ["deploy/s3.py", "deploy/s3_torn.py"],
    "cryptography": ["deploy/signing.py"],
    "datasets": ["tasks/batches.py"],
    "fastapi": ["deploy/service/*.py", "deploy/console/*.py"],
    "fastapi_offline": ["deploy/service/app.py"],
    "gevent": ["deploy/operate/load.py"],
    "gguf": ["deploy/engines/weights.py", "tasks/gguf_file.py", "tasks/gguf_source.py"],
    "great_expectations": ["tasks/suites.py"],
    "httpx": ["deploy/client.py", "deploy/engines/http.py", "flows/approval.py"],
    "helm_python": ["deploy/targets/kubernetes_chart.py"],
    "jinja2": ["deploy/chat_template.py", "tasks/answer.py"],
    "kubernetes": ["deploy/targets/kubernetes_api.py"],
    "lmdeploy": ["deploy/lmdeploy/awq.py", "deploy/lmdeploy/serve.py"],  # run by an interpreter of its own
    "locust": ["deploy/operate/load.py"],
    "matplotlib": ["tasks/figures.py"],
    "mlflow": [f"tasks/{name}.py" for name in ("tracking", "registry", "pyfunc", "logged", "versions", "runs")],
    "pandas": ["tasks/pyfunc.py", "tasks/suites.py"],
    "peft": ["tasks/train.py", "tasks/merge.py"],
    "phonenumbers": ["data_contracts/personal/number_forms.py"],
    "polars": ["tasks/*.py"],
    "prefect": ["flows/*.py"],
    "pyarrow": ["tasks/calls.py", "tasks/mend_packed.py", "tasks/unpacking.py"],
    "rensa": ["tasks/near.py"],
    "safetensors": [
        "tasks/adopt.py",
        "tasks/gguf_file.py",
        "tasks/merge.py",
        "tasks/quantize.py",
        "deploy/engines/weights.py",
    ],
    "scipy": ["tasks/calibrate.py", "tasks/resample.py", "tasks/shift.py"],
    "sklearn": ["tasks/agreement.py", "tasks/baseline.py", "tasks/pretrain.py"],
    "sqlalchemy": ["tasks/tracking.py"],
    "starlette": ["deploy/service/*.py", "deploy/console/*.py"],
    "stdnum": ["data_contracts/personal/number_forms.py"],
    "tokenizers": ["deploy/tokenizer.py", "deploy/spelling.py", "tasks/pretrain.py"],
    "torch": [
        *(
            f"tasks/{name}.py"
            for name in (
                "attention",
                "batches",
                "gguf_file",
                "lora",
                "merge",
                "pretrain",
                "quantize",
            )
        ),
        *(f"tasks/{name}.py" for name in ("ranks", "train", "trainer")),
        "deploy/engines/*.py",
        "deploy/lmdeploy/awq.py",
    ],
    "torchao": ["deploy/engines/weights.py", "tasks/quantize.py"],
    "transformers": [
        *(f"tasks/{name}.py" for name in ("attention", "base", "gguf_source", "merge", "pretrain", "train", "trainer")),
        "deploy/engines/*.py",
        "deploy/lmdeploy/awq.py",
    ],
    "typer": ["flows/__main__.py", "flows/commands/*.py"],
    "uvicorn": ["deploy/service/*.py", "deploy/console/*.py"],
}

# Imported only inside the functions that use them: half a second to nine seconds each.
HEAVY = {
    *(
        "accelerate",
        "boto3",
        "datasets",
        "great_expectations",
        "helm_python",
        "kubernetes",
        "lmdeploy",
        "locust",
        "matplotlib",
        "mlflow",
        "pandas",
        "peft",
    ),
    *("polars", "pyarrow", "scipy", "sklearn", "torch", "torchao", "transformers"),
}


def sources(folder: str | None = None) -> list[Path]:
    return sorted(f for layer in ([folder] if folder else LAYERS) for f in (ROOT / layer).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(node: ast.AST, deferred: bool = False) -> Iterator[tuple[str, bool]]:
    """Every absolute import below `node` as (module, whether it waits for a call or is for types only)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or "", deferred
        else:
            waits = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            types_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from imports(child, deferred or waits or types_only)


def test_a_layer_imports_only_from_layers_to_its_right() -> None:
    wrong = [
        f"{name_of(file)} imports {module}"
        for position, layer in enumerate(LAYERS)
        for file in sources(layer)
        for module, _ in imports(tree(file))
        if module.split(".")[0] in (*LAYERS[:position], "tests")
    ]

    assert not wrong


def test_imports_are_absolute() -> None:
    assert not [
        name_of(file)
        for file in sources()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def test_a_library_is_known_only_to_its_owner_files() -> None:
    wrong = [
        f"{name_of(file)} imports {module}"
        for file in sources()
        for module, _ in imports(tree(file))
        if not any(fnmatch(name_of(file), owner) for owner in OWNERS.get(module.split(".")[0], ["*"]))
    ]

    assert not wrong


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = [
        f"{name_of(file)} imports {module} at the top"
        for file in sources()
        for module, deferred in imports(tree(file))
        if module.split(".")[0] in HEAVY and not deferred
    ]

    assert not wrong


def test_no_module_is_named_after_a_layer() -> None:
    inside = [path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.is_dir() or path.suffix == ".py"]

    assert not [name_of(path) for path in inside if path.stem in LAYERS]


def test_functions_are_short() -> None:
    long = {
        f"{name_of(file)}:{node.name}"
        for file in sources()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines(node) > MAX_LINES
    }

    assert long == set(LONG)
    assert len(LONG) <= 5 and all(LONG.values())


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("flows.__main__", {*HEAVY, "prefect", "fastapi", "numpy"}),
        ("deploy.service.app", {*HEAVY, "prefect"}),
    ],
)
def test_it_starts_without_what_it_does_not_need(module: str, forbidden: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", program], env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True
    )

    assert not forbidden & set(found.stdout.split())


@cache
def committed() -> list[Path]:
    """What git has or would have; without git (a release archive) everything outside the ignored folders."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [name_of(p) for p in ROOT.rglob("*") if not any(part in {".venv", "__pycache__"} for part in p.parts)]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_every_yaml_loads() -> None:
    files = [f for f in committed() if f.suffix in {".yaml", ".yml"} and "templates" not in f.parts]

    assert files
    for file in files:
        assert list(yaml.safe_load_all(file.read_text(encoding="utf-8"))), name_of(file)


def test_nothing_committed_names_a_place_on_the_machine_it_was_written_on() -> None:
    places = re.compile(rb"(?<![\w.~}])/(?:work|root|opt/wheels|opt/pypi)/|(?<![\w.])/hom[e]/(?!\w*USER)")

    assert not [name_of(file) for file in committed() if places.search(file.read_bytes())]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def needed() -> set[str]:
    """Every distribution the dependency groups bring on this machine, by way of what is installed."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    elsewhere = [
        name for group in ("gpu", "kubernetes", "platform") for name in groups.pop(group)
    ]  # a GPU, or an image of ours
    assert {canonicalize_name(name) for name in elsewhere} <= set(pins())
    todo = [Requirement(line) for group in groups.values() for line in group if isinstance(line, str)]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        for extra in {"", *requirement.extras} - {e for n, e in seen if n == canonicalize_name(requirement.name)}:
            seen.add((canonicalize_name(requirement.name), extra))
            below = map(Requirement, importlib.metadata.requires(requirement.name) or [])
            todo += [r for r in below if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_everything_needed_is_pinned_and_installed_as_pinned() -> None:
    own = {name for name in needed() if not name.startswith(("nvidia-", "cuda-", "triton"))}  # torch pins these itself
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in own}

    assert installed == {name: pins().get(name) for name in own}
