"""What can go wrong for the person at the keyboard, and the request to stop."""

import signal


class StackError(Exception):
    """One clear line that says what happened and what to do."""


class StopRequested(BaseException):
    """A signal or the parent's death asks the launcher to end.

    Not an `Exception`: no error handler on the way may take it for a failure and go on.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell would report for a process ended by this signal."""
        return 128 + int(self.number)
