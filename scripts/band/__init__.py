"""Train the bundled band: skip transcoders of consecutive MLPs of the bundled model, for what the MLPs give and how they *respond*.

    python -m scripts.band --workdir build/band                  # all stages; each goes on where it was stopped
    python -m scripts.band --workdir build/band --stage train --blocks 8 --k 64

1. ``sample``   rows of the model's own writing (:mod:`texts`), about half of what is read.
2. ``record``   inputs and outputs of the MLPs on that and on speeches, a novel, documentation and a dictionary's prose, each with a part
                that trains nothing (:mod:`registers`, :mod:`texts`, :mod:`recording`); about 9 GB for eight blocks.
3. ``train``    block after block, since a block is trained on what earlier features send to it: the output is reconstructed by features and
                a linear skip, and so is the MLP's derivative along directions that the stream really carries (:mod:`directions`,
                :mod:`arrivals`, :mod:`linear`, :mod:`transcoder`, :mod:`training`).
4. ``publish``  in SAELens' layout, float16 (:mod:`publishing`).
5. ``measure``  the published files on held-out text (:mod:`measuring`).

``--stage controls`` says what linear maps alone explain of a block (:mod:`controls`).

A transcoder that is trained on outputs alone explains its MLP's output and next to nothing of the MLP's derivative, of which a causal edge
is made: at one token the features' derivative has no more dimensions than features that are on.
"""
