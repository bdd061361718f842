"""Attacks on the files of other tenants and of the server."""
