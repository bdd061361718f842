"""Orchestrated runs: a message that names no agent is planned over the project's agents, and the plan is run.

`planning_task` and `closing_task` are the two tasks that the orchestrator does itself, at both ends of a run; between
them `launching` writes the plan's tasks as rows, and `chords` sends what follows the end of each. Plans as values are
in `plans`, who makes them is in `planner`.
"""
