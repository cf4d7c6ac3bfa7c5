"""What this library asks of a model and of dictionaries that others loaded, whatever their class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from torch import nn


class HookedModel(Protocol):
    """A transformer whose intermediate values can be read by name: transformer_lens' HookedTransformer or TransformerBridge.

    Attributes:
        cfg: Sizes and kinds of its parts: ``n_layers``, ``d_model``, ``n_ctx``, ``d_vocab``, ``device``, and others.
        hook_dict: Name of every hook → its module.
    """

    cfg: Any

    @property
    def hook_dict(self) -> Mapping[str, Any]: ...  # noqa: D102

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102

    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102


#: Layer → SAELens SAE, where later layers lie later in the model; or, with dictionaries on components, name of the site (``L5``, ``L5.tc``)
#: → SAELens SAE or transcoder.
Dictionaries: TypeAlias = Mapping[Any, Any]
