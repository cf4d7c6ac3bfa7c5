"""Which documents choose, which test, which confirm."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

SELECT, TEST, CONFIRM = 0, 1, 2
_SHARES = (0.4, 0.8)


def split_documents(n_documents: int, seed: int) -> NDArray[np.uint8]:
    """Assign each document (context row) to SELECT (40 %), TEST (40 %) or CONFIRM (20 %).

    Each document is hashed with the seed on its own, so more documents never move an earlier one.

    Returns:
        uint8 array [n_documents].
    """
    hashes = (hashlib.sha256(f"{seed}:{d}".encode()).digest()[:8] for d in range(n_documents))
    shares = np.array([int.from_bytes(h, "big") / 2**64 for h in hashes])
    return np.digitize(shares, _SHARES).astype(np.uint8)


def halve_documents(n_documents: int, seed: int) -> NDArray[np.uint8]:
    """Assign each document to half 0 or 1, each hashed on its own and independently of its split: uint8 [n_documents]."""
    return np.array([hashlib.sha256(f"half:{seed}:{d}".encode()).digest()[0] & 1 for d in range(n_documents)], dtype=np.uint8)
