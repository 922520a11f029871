"""Linear layers of one input as one product.

`M` positions, `I` inputs, `O` outputs of all the layers together.
"""

import ctypes
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

PAGEOUT = 21  # madvise's, in Linux's mman-common.h


class Joined(Protocol):
    """Layers of one input. `rows`: which of the O are each layer's; `room`: columns that the input must have behind its own."""

    @property
    def rows(self) -> tuple[slice, ...]: ...

    @property
    def room(self) -> int: ...

    def __call__(self, x: "Tensor") -> "Tensor":
        """x (M, I + room), whose room is filled here, → (M, O)."""
        ...


@dataclass(frozen=True)
class Frozen:
    """Layers without adapters. `weight` (O, I) holds all of theirs; it is None where they multiply in a way of their own."""

    layers: tuple[Any, ...]
    weight: "Tensor | None"
    bias: "Tensor | None"
    rows: tuple[slice, ...]
    room: int = 0

    def __call__(self, x: "Tensor") -> "Tensor":
        import torch

        if self.weight is not None:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        parts = [layer(x) for layer in self.layers]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def join(layers: Sequence[Any]) -> Frozen:
    """Layers without adapters as one; done once, and found again by the first of them."""
    from torch import Tensor, nn

    known: Frozen | None = layers[0].__dict__.get("as_one")
    if known is not None and known.layers == tuple(layers):
        return known
    if all(type(layer) is nn.Linear and type(layer.weight.data) is Tensor for layer in layers):
        made = Frozen(tuple(layers), *lay(layers))
    else:
        made = Frozen(tuple(layers), None, None, slices([layer.out_features for layer in layers]))
    layers[0].__dict__["as_one"] = made
    return made


def lay(layers: Sequence[Any], room: int = 0) -> tuple["Tensor", "Tensor | None", tuple[slice, ...]]:
    """The weights of plain linear layers one below the other, (O, I + room), their biases (O,), and each layer's rows.

    The layers' own weights become views of it, so that there is one copy. The room is zero.
    """
    import torch

    with torch.inference_mode(False), torch.no_grad():  # a base that answers first may still be trained
        return _lay(layers, room)


def _lay(layers: Sequence[Any], room: int) -> tuple["Tensor", "Tensor | None", tuple[slice, ...]]:
    like = layers[0].weight
    rows = slices([layer.out_features for layer in layers])
    weight = like.new_zeros(rows[-1].stop, like.shape[1] + room)
    bias = None if all(layer.bias is None for layer in layers) else like.new_zeros(rows[-1].stop)
    for layer, at in zip(layers, rows, strict=True):
        weight[at, : like.shape[1]] = layer.weight.detach()
        if (
            layer.weight.dtype.itemsize == 2
        ):  # as they lie in the file; fp32 ones may be a copy, which is dropped anyway
            page_out(layer.weight.data_ptr(), layer.weight.nbytes)
        layer.weight.data = weight[at, : like.shape[1]]
        if bias is not None and layer.bias is not None:
            bias[at] = layer.bias.detach()
    return weight, bias, rows


def slices(sizes: Sequence[int]) -> tuple[slice, ...]:
    """So many each, one behind the other."""
    return tuple(slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0)))


def page_out(address: int, size: int) -> None:
    """Take the whole pages of these bytes out of memory: they will not be read again soon.

    For weights, which are mapped from their file as long as one tensor of it is used; read again, a page comes from the file.
    It is a hint: nothing is lost, and where the system does not know it nothing happens.
    """
    libc, page = ctypes.CDLL(None), mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if hasattr(libc, "madvise") and start < end:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), PAGEOUT)
