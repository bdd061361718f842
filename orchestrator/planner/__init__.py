"""How a message becomes a plan: what a model is asked, what it says, its repair, the cache and the simple plan."""
