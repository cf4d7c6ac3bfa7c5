"""Reading and changing tensors inside blocks while slices of a model run.

A dictionary on a component reads and writes inside a block: :class:`BlockTaps` says which tensors (by the names of
:mod:`feature_graph.dictionaries.tensors`) are kept, and which are changed on the way. What follows a change inside the block is computed
from it: what is changed at z goes through W_O and a norm that follows, what is changed at the MLP's input through the MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from torch import Tensor

from feature_graph.dictionaries import TensorName
from feature_graph.interventions.blocks import Tap

#: Block and tensor.
Where = tuple[int, TensorName]


class BlockTaps:
    """Tensors that are read or changed in one run of some blocks.

    Args:
        read: Blocks and tensors to keep; a tensor that is also changed is kept as it is then.
        change: Block and tensor → the function that changes it; it gives a tensor of the same shape.

    Attributes:
        found: Block and tensor → what was read, [..., width], with the leading axes of what is run.
    """

    def __init__(self, read: Iterable[Where] = (), change: Mapping[Where, Callable[[Tensor], Tensor]] | None = None) -> None:
        self._read, self._change = frozenset(read), dict(change or {})
        self._blocks = {block for block, _ in (*self._read, *self._change)}
        self.found: dict[Where, Tensor] = {}

    def of(self, block: int) -> Tap | None:
        """What one block is to call; None if nothing is asked of it."""
        return partial(self._at, block) if block in self._blocks else None

    def _at(self, block: int, name: TensorName, x: Tensor) -> Tensor:
        where = block, name
        if where in self._change:
            x = self._change[where](x)
        if where in self._read:
            self.found[where] = x
        return x
