"""A small conversation with a running stack, shown as it streams. It knows the API only: HTTP, JSON, event lines."""
