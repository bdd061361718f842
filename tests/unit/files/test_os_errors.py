"""What the operating system says is told without its words."""

import errno
import os

import pytest

from workspace.files.os_errors import told
from workspace.tools.errors import ToolError
from workspace.tools.errors import ToolErrorCode as Code

KNOWN = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.NOT_A_DIRECTORY,
    errno.ELOOP: Code.NOT_A_DIRECTORY,
    errno.EISDIR: Code.NOT_A_FILE,
    errno.ENXIO: Code.NOT_A_FILE,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.ENAMETOOLONG: Code.INVALID_PATH,
    errno.EFBIG: Code.TOO_LARGE,
    errno.ENOSPC: Code.QUOTA_EXCEEDED,
    errno.EDQUOT: Code.QUOTA_EXCEEDED,
}
LOGGED = {errno.ENOSPC, errno.EDQUOT}


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_is_told_without_a_path_and_what_is_not_the_models_is_logged(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ToolError) as caught, told():
        raise OSError(number, os.strerror(number), "/srv/data/secret")
    assert caught.value.code is KNOWN.get(number, caught.value.code)
    assert "/srv" not in str(caught.value)
    assert caught.value.__cause__ is None
    is_logged = "file_error" in "".join(capsys.readouterr())
    assert is_logged == (caught.value.code is Code.INTERNAL_ERROR or number in LOGGED)


def test_other_errors_pass() -> None:
    with pytest.raises(ToolError, match="as it is"), told():
        raise ToolError(Code.TOO_LARGE, "as it is")
    with pytest.raises(ZeroDivisionError), told():
        raise ZeroDivisionError
