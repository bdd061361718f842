"""The object graph, in groups: `core` is what web processes and nodes have alike, the others are a node's.

Only `bootstrap` and tests build them; no layer imports anything from here.
"""
