"""Causal feature graphs of language models: from activations of sparse autoencoders to a graph in Neo4j."""

__version__ = "0.1.0"
