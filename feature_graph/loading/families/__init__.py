"""Dictionaries as people have them on disk: one small reader per family of files, all giving the same parts.

A folder is read by the family whose files lie in it:

- SAELens (``cfg.json`` and ``sae_weights.safetensors``), files of every version, checkpoints of training included: ``saelens``;
- sparsify (``cfg.json`` and ``sae.safetensors``): ``sparsify``;
- dictionary_learning (``config.json`` and ``ae.pt``): ``dictionary_learning``;
- circuit-tracer (``config.yaml`` and ``layer_N.safetensors``, or files elsewhere that it lists, each a transcoder): ``circuit_tracer``;
- Gemma Scope (``params.npz``) and Gemma Scope 2 (``config.json`` and ``params.safetensors``): ``gemma_scope``.

Each reader translates the family's own formula into the settings and tensors of one SAELens class and refuses by name what has no
such translation; ``parts`` then checks shapes and values and builds the SAELens object. docs/dictionaries.md says which setting of
which file is applied, folded, warned about or refused.
"""

from feature_graph.loading.families.folders import MARKERS, find_dictionaries, read_dictionary, read_member

__all__ = ["MARKERS", "find_dictionaries", "read_dictionary", "read_member"]
