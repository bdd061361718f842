"""What agents remember: texts with their vectors, a collection for each agent.

`store.ContextStore` is the port, with two engines of Qdrant behind it: `server`, and `edge` in a process of this node.
`agent_memory.AgentMemory` is what others use: it speaks of texts, and has them embedded. Nothing in here knows of runs,
requests or queues.
"""
