"""Tools as a client sees them: conversations with them, the ledger, and tools that the client carries out itself."""
