"""Orchestrated runs. Plans are in `plans`; a message names one agent until a planner is here."""
