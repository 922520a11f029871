"""`ollama status`, `ollama create`, `ollama ask`, `ollama remove`."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.limits import MOST_VERSION
from flows.commands.options import Json, Sets, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.engines.ollama_server import Ollama


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(no_args_is_help=True, help="The Ollama at serve.ollama_url.")
    for command in (status, create, ask, remove):
        group.command()(command)
    app.add_typer(group, name="ollama")


def status(sets: Sets = None, as_json: Json = False) -> None:
    """Its version and its models, with what they take on disk and in memory."""
    from flows.commands.tables import columns

    with _client(sets) as ollama:
        found = ollama.status()
    head = ["model", "MB", "in memory", "quantization", "digest"]
    cells = [[m.name, f"{m.size_mb:.0f}", f"{m.in_memory_mb:.0f}", m.quantization, m.digest[:12]] for m in found.models]
    table = columns(head, cells) if cells else "no models; ./tingsu ollama create VERSION"
    show(found.model_dump(mode="json"), f"Ollama {found.version} at {found.url}\n{table}", as_json)


def create(
    version: Annotated[
        int | None, typer.Argument(min=1, max=MOST_VERSION, help="of a registered model; default: the champion")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="of the model in Ollama; default: by its weights")] = "",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Make a model of a version's GGUF weights, or find the one that has them."""
    from deploy.engines.ollama_server import gguf_of, model_name
    from flows.registry import model_folder, open_registry

    file = gguf_of(model_folder(open_registry(sets=sets), version))
    with _client(sets) as ollama:
        made = ollama.create(name or model_name(file), file)
    show(
        made.model_dump(mode="json"), f"{made.name} is there, {made.size_mb:.0f} MB, digest {made.digest[:12]}", as_json
    )


def ask(
    model: str,
    prompt: str,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="of the answer")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=2)] = 0.0,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Let a model answer, and say what that cost."""
    with _client(sets) as ollama:
        found = ollama.ask(model, prompt, max_tokens, temperature)
    cost = f"{found.tokens} tokens, {found.tokens_per_s:.1f} a second, behind {found.prompt_tokens} read in {found.prompt_s:.2f} s"
    show({**found.model_dump(), "tokens_per_s": found.tokens_per_s}, f"{found.text}\n\n{cost}", as_json)


def remove(model: str, sets: Sets = None, as_json: Json = False) -> None:
    """Forget a model and its disk space."""
    with _client(sets) as ollama:
        ollama.remove(model)
    show({"removed": model}, f"{model} removed", as_json)


def _client(sets: "Sequence[str] | None") -> "Ollama":
    from deploy.engines.ollama_server import Ollama
    from flows.session import open_session

    return Ollama(open_session(sets=sets or ()).settings.serve.ollama_url)
