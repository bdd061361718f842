"""What keeps the sandbox itself from working; never what a command did."""


class SandboxError(Exception):
    """A sandbox could not be made. Its text is for the operator and for the model: it names no path of the host."""
