"""What the operating system says, in words that the model can act on and that tell nothing of the host."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from workspace.tools.errors import ToolError, ToolErrorCode

log = structlog.get_logger(__name__)

_NOT_A_DIRECTORY = (ToolErrorCode.NOT_A_DIRECTORY, "A part of the path is a link, or no directory.")
_DENIED = (ToolErrorCode.PERMISSION_DENIED, "The permissions of the file or of its directory do not allow it.")
_TOO_LONG = (ToolErrorCode.INVALID_PATH, "The path is not allowed. The file system does not take such a name.")
_SPECIAL = (ToolErrorCode.NOT_A_FILE, "It is a pipe, socket or device.")
_FULL = (ToolErrorCode.QUOTA_EXCEEDED, "There is no space left for files.")

_TOLD = {
    errno.ENOENT: (ToolErrorCode.NOT_FOUND, "There is no such file or directory."),
    errno.ENOTDIR: _NOT_A_DIRECTORY,
    errno.ELOOP: _NOT_A_DIRECTORY,
    errno.EISDIR: (ToolErrorCode.NOT_A_FILE, "It is a directory."),
    errno.ENXIO: _SPECIAL,
    errno.ENODEV: _SPECIAL,
    errno.EEXIST: (ToolErrorCode.ALREADY_EXISTS, "There is something of this name already."),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENAMETOOLONG: _TOO_LONG,
    errno.EILSEQ: _TOO_LONG,
    errno.EFBIG: (ToolErrorCode.TOO_LARGE, "The file is too large for the file system."),
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
}
_OPERATORS = {errno.ENOSPC, errno.EDQUOT}
"""What only the operator can mend: it is logged although the model is told."""

_BUSY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.ESTALE}


@contextmanager
def told() -> Iterator[None]:
    """Turn errors of the operating system into what a tool answers.

    Raises:
        ToolError: the operating system refused.
    """
    try:
        yield
    except OSError as error:
        raise translate(error) from None


def translate(error: OSError) -> ToolError:
    """Return what a tool answers; what is not known is logged, and the answer says nothing of it."""
    number = error.errno or 0
    if number not in _TOLD or number in _OPERATORS:
        log.error("file_error", errno=errno.errorcode.get(number, str(number)), exc_info=error)
    if number in _TOLD:
        return ToolError(*_TOLD[number])
    if number in _BUSY:
        return ToolError(ToolErrorCode.INTERNAL_ERROR, "The server is too busy for this now; try again later.")
    return ToolError(ToolErrorCode.INTERNAL_ERROR, "The server could not do this.")
