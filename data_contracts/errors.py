"""Every error a user can cause or must answer, one tree, by cause.

A message names the thing, its value, what was allowed and what to do. The entry point prints it without a traceback and
exits with `exit_code`; an exception outside this tree is a bug.
"""

from typing import ClassVar

from data_contracts.messages import Said


class TingsuError(Exception):
    """Root of the tree; never raised itself. `code` is stable and machine-readable."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"


class Told(TingsuError):
    """A submitter or a reviewer reads it: it has a message of the table, and so a code of its own and both languages."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)

    @property
    def said(self) -> Said:
        """Its message."""
        said: Said = self.args[0]
        return said

    @property
    def answer(self) -> dict[str, object]:
        """What a machine is told (`--json`)."""
        return {"passed": False, "refusals": [self.said._asdict()]}


def revived(kind: str, sentence: str) -> TingsuError:
    """An error that another process told of by its kind and its sentence.

    Raises:
        KeyError: there is no such kind.
    """
    known = globals()[kind]
    made: TingsuError = known(Said(known.code, sentence, "")) if issubclass(known, Told) else known(sentence)
    return made


class ContractViolation(Told):
    """The data do not hold what the contract promises."""

    exit_code = 3
    code = "contract_violation"


class ConfigurationError(TingsuError):
    """A setting, option or file name is wrong."""

    exit_code = 2
    code = "configuration_error"


class WrongRequest(Told, ConfigurationError):
    """What a submitter asked for is not there or cannot be: a path, a column, a dataset, an option."""


class ResourceInsufficient(TingsuError):
    """Memory, disk, port or device is missing."""

    exit_code = 4
    code = "resource_insufficient"


class ModelLoadError(TingsuError):
    """Weights, tokenizer or their combination cannot be loaded."""

    code = "model_load_error"


class EngineUnavailable(TingsuError):
    """An engine or service does not answer, or is not ready."""

    exit_code = 4
    code = "engine_unavailable"


class ChampionUnavailable(EngineUnavailable):
    """While a candidate is tried beside it, the side that is live does not answer."""


class BundleCorrupt(TingsuError):
    """A bundle's content, attestation or signature does not match its digest."""

    code = "bundle_corrupt"


class GateRefused(Told):
    """The gate did not answer PROMOTE, or its verdict does not cover this bundle."""

    exit_code = 3
    code = "gate_refused"


class RolloutFailed(TingsuError):
    """A rollout was undone; the previous release serves."""

    code = "rollout_failed"


class Busy(RolloutFailed):
    """Somebody else rolls out to the same target now; nothing was touched."""


class ApprovalAwaited(Told):
    """A rollout is staged and verified; a person says whether it gets traffic. Not refused, and not live yet."""

    exit_code = 4
    code = "approval_awaited"


class StoreUnavailable(TingsuError):
    """The store, the tracking server or the orchestrator does not answer or is not writable."""

    code = "store_unavailable"
