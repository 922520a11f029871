"""Whether another engine fits in beside those that are loaded, and why a bundle is not."""

from data_contracts.errors import TingsuError
from deploy.memory import Memory
from deploy.service.child import Usage


class ReloadRuns(Exception):
    """One at a time."""


class CandidateServes(Exception):
    """What is to be tried has all the traffic already, and there is no other to compare it with."""


class Withdrawn(Exception):
    """The candidate was withdrawn while it was being loaded."""


class TooLittleMemory(Exception):
    """Both bundles do not fit, into the machine's memory or the GPU's; nothing was touched."""

    def __init__(self, needed_mb: float, memory: Memory, is_gpu: bool = False) -> None:
        super().__init__(f"{needed_mb:.0f} MB are needed, {memory.free_mb:.0f} of {memory.limit_mb:.0f} MB are free")
        self.needed_mb = needed_mb
        self.memory = memory
        self.is_gpu = is_gpu


class NotLoaded(Exception):
    """The next bundle may not or cannot serve, as `cause` says; `is_kept`: the one before never stopped serving."""

    def __init__(self, cause: TingsuError, is_kept: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.is_kept = is_kept


def require_room(held: Usage, ratio: float, machine: Memory) -> None:
    """Return if an engine `ratio` times as large as one that holds this fits in beside it.

    Raises:
        TooLittleMemory: it does not; says of which memory.
    """
    on_gpu_mb = 0.0
    if held.gpu is not None:
        on_gpu_mb = held.gpu.held_mb
        if on_gpu_mb * ratio > held.gpu.memory.free_mb:
            raise TooLittleMemory(on_gpu_mb * ratio, held.gpu.memory, is_gpu=True)
    needed_mb = max(held.memory_mb - on_gpu_mb, 0.0) * ratio
    if needed_mb > machine.free_mb:
        raise TooLittleMemory(needed_mb, machine)
