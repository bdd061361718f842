"""Memory on a Qdrant server, as an adapter of the port: the one home of `qdrant_client`.

Importing it takes a second and 85 MB, gRPC included, so it is imported only where a server is named in the settings.
"""
