"""Plans that wait for their owner, and runs that are done again."""
