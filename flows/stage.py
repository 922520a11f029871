"""A plain step as a Prefect task whose work is kept by stage key, told on one line, and logged to MLflow."""

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State
from pydantic import BaseModel

from flows.environment import await_server
from flows.run import Run
from tasks import stages

R = TypeVar("R", bound=BaseModel)
log = logging.getLogger("tingsu")


def once(step: Callable[..., R], name: str, **policy: Any) -> Callable[..., R]:
    """Wrap a step with side effects of its own, such as registering: a Prefect task, not kept by a stage key.

    The inputs are closed over: Prefect would otherwise walk through every field of them, looking for futures.
    """

    def call(*inputs: Any) -> R:
        result: R = task(name=name, cache_policy=NO_CACHE, persist_result=False, **policy)(lambda: step(*inputs))()
        return result

    return call


def stage(step: Callable[..., R], kind: type[R], **policy: Any) -> Callable[..., R]:
    """Wrap a step. The result is called as `wrapped(run, *inputs, label="…")`; the step gets the inputs and `work=`.

    The stage key covers every input that is a value; folders (`Path`) only say where, so they are left out of it.
    Nothing is retried unless `policy` says so: the same data give the same crash. `policy` goes to `prefect.task`.
    """
    name = step.__module__.split(".")[-1]

    def call(run: Run, *inputs: Any, label: str = "") -> R:
        title = f"{name} {label}".strip()

        def body() -> R | State[R]:
            outcome = perform(run, step, kind, name, inputs)
            run.note(title, outcome)
            return (
                Completed(name="Reused", message=outcome.key, data=outcome.result) if outcome.reused else outcome.result
            )

        if policy.get("tags"):
            await_server()  # asked for the tag's slot, a server that is away fails the task at once
        answer = task(name=title, cache_policy=NO_CACHE, persist_result=False, **policy)(body)()
        found: R = answer.result() if isinstance(answer, State) else answer
        return found

    return call


def perform(run: Run, step: Callable[..., R], kind: type[R], name: str, inputs: tuple[Any, ...]) -> stages.Outcome[R]:
    """Find the stage's record or do the work."""
    values: dict[str, object] = {str(i): value for i, value in enumerate(inputs) if not isinstance(value, Path)}
    key = stages.stage_key(name, values, import_module(step.__module__))
    return stages.run(run.store, key, kind, lambda work: step(*inputs, work=work))
