"""Reading and changing tensors inside blocks while slices of a model run.

A dictionary on a component reads and writes inside a block: :class:`BlockTaps` says which tensors (by the names of
:mod:`feature_graph.dictionaries.tensors`) are kept, and which are changed on the way. What follows a change inside the block is computed
from it: what is changed at z goes through W_O and a norm that follows, what is changed at the MLP's input through the MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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

    @classmethod
    def differentiable(cls, at: Iterable[Where], read: Iterable[Where] = ()) -> BlockTaps:
        """Keep tensors to differentiate by, each for what follows on its own branch alone.

        Without a norm before it, what the MLP reads is the very tensor that goes past it as well, and so is ``mlp_stream`` in every block.

        Args:
            at: Tensors to differentiate by.
            read: Further tensors to keep.
        """
        wanted = list(at)
        return cls([*wanted, *read], dict.fromkeys(wanted, lambda x: x.view_as(x)))

    def of(self, block: int) -> Tap | None:
        """What one block is to call; None if nothing is asked of it."""
        return _BlockTap(self, block) if block in self._blocks else None

    def wants(self, where: Where) -> bool:
        """Whether a tensor is read or changed."""
        return where in self._read or where in self._change

    def at(self, where: Where, x: Tensor) -> Tensor:
        """Change and keep a tensor, as asked; gives the one to go on with."""
        if where in self._change:
            x = self._change[where](x)
        if where in self._read:
            self.found[where] = x
        return x


@dataclass(frozen=True)
class _BlockTap:
    """The taps of one block."""

    taps: BlockTaps
    block: int

    def wants(self, name: TensorName) -> bool:
        return self.taps.wants((self.block, name))

    def __call__(self, name: TensorName, x: Tensor) -> Tensor:
        return self.taps.at((self.block, name), x)
