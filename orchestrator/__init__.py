"""Orchestrated runs: plans over a person's own agents. A message names one agent until a planner is here."""
