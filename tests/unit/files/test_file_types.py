"""Machine code is not written, however its name is spelt."""

import pytest

from tests.support.ground import refused
from workspace.files.file_types import FORBIDDEN, check_type
from workspace.tools.errors import ToolErrorCode


@pytest.mark.parametrize(
    "name",
    [
        *(f"x.{ending}" for ending in sorted(FORBIDDEN)),
        "X.EXE",
        "x.ExE",
        "x.exe.",
        "x.exe ",
        "x.exe. . ",
        "x.exe\u00a0",
        "x.exe\u3000",
        "x. exe",
        "x.\uff45\uff58\uff45",
        "x.\u017fo",  # a long s
        "libx.so",
        "libx.so.1",
        "libx.so.1.2.3",
        "libx.SO.6",
        "x.exe.1",
        "x.exe:stream",
        "x.txt:y.exe",
        "x.exe::$DATA",
        ".so",
        "a.b.dll",
    ],
)
def test_machine_code_is_refused_by_its_ending(name: str) -> None:
    with refused(ToolErrorCode.FORBIDDEN_FILE_TYPE):
        check_type(name)


@pytest.mark.parametrize(
    "name",
    [
        "exe",
        "so",
        "x.exe.txt",
        "x.py",
        "x.sh",
        "x.bat",
        "x",
        "1.2.3",
        "x.so.md",
        "x.1",
        ".",
        "a.sofa",
        "x.",
        "notes.o.txt",
    ],
)
def test_anything_else_is_written(name: str) -> None:
    check_type(name)
