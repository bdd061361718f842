"""Memory on this node's own disk: the engine of Qdrant, embedded.

Its binding holds Python's global lock through every call: a search of large collections, a flush, and the minutes in
which an index is built would stop each thread of the node. Its files are mapped into memory, so a full disk kills the
process that writes. Both are reasons for a process of its own: `engine` is that process, `store` the port's adapter on
the node's side, and `shard` the one home of `qdrant_edge`.
"""
