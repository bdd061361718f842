"""The core: workspaces, agents, the agent bus, the runner, the model, and the events that tell of it all."""
