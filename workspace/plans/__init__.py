"""Plans as rows: what is stored and shown of them, and how their tasks move on when one of them ends.

A plan as a value, before there are rows, is `orchestrator.plans`. Start with `view` (what is stored), `rows` (what
follows an end) and `standing` (how the run stands then); `edges` is the port to who sends what follows.
"""
