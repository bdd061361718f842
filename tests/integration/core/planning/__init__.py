"""Planning with real stores, and the stand-in model over HTTP."""
