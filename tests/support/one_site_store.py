"""An activation store of one site and six features, written block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from feature_graph.artifacts import (
    ActivationWriter,
    Site,
)

SITE = Site(0, "blocks.0.hook_resid_post", 1, "tiny", "0" * 8, "local", "sae0", d_in=4, d_sae=6)


def write_store(path: Path, blocks: list[sp.csr_matrix], finish: bool = True) -> None:
    tokens = np.arange(40).reshape(5, 8)
    valid = np.ones_like(tokens, dtype=bool)
    valid[:, 0] = False
    with ActivationWriter(path, {0: SITE}, tokens, valid, {"seed": 3}) as writer:
        for block in blocks:
            writer.append(0, block)
        if finish:
            writer.finish({0: np.zeros(6, dtype=np.float32)}, {0: np.ones(6, dtype=np.float32)})


def matrix(rows: int = 40, seed: int = 0) -> sp.csr_matrix:
    return sp.random(rows, 6, 0.3, format="csr", dtype=np.float32, random_state=np.random.default_rng(seed))
