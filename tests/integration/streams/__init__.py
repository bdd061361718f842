"""Event streams over real HTTP."""
