"""Agents that remember, over the real stack: the embedded engine in the node, and the stand-in's embeddings."""
