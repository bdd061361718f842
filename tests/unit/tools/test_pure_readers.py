"""Commands that only read: what is told of them, and what they do when they are run."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workspace.tools.pure_readers import FIND_ALONE, FIND_VALUED, READERS, is_reader, objection

COMMANDS = [*READERS, "echo", "find"]

HARMLESS = [
    ("ls", []),
    ("ls", ["-la", "src"]),
    ("ls", ["--sort=time", "--", "-name"]),
    ("cat", ["-n", "a.txt", "b.txt"]),
    ("cat", ["-"]),
    ("head", ["-n", "5", "a.txt"]),
    ("head", ["-n5", "a.txt"]),
    ("head", ["-20", "a.txt"]),
    ("tail", ["-n", "-5", "a.txt"]),
    ("tail", ["-n", "+5", "a.txt"]),
    ("wc", ["-l", "a.txt"]),
    ("grep", ["-rn", "TODO", "src"]),
    ("grep", ["-rn", "/api/v1", "src"]),
    ("grep", ["-e", "/api/v1", "-e", "../x", "src"]),
    ("grep", ["-A", "3", "-C2", "--include=*.py", "x", "."]),
    ("grep", ["-i", "--", "-o", "a.txt"]),
    ("grep", [r"^a\.b|c$", "a.txt"]),
    ("pwd", []),
    ("echo", ["-e", "anything", "> b.txt", "$(c)", "/etc", "--output=x"]),
    ("stat", ["-c", "%s", "a.txt"]),
    ("file", ["-b", "a.txt"]),
    ("du", ["-sh", "-d1", "--max-depth=2", "."]),
    ("diff", ["-u", "a.txt", "b.txt"]),
    ("diff", ["-U", "5", "--color=always", "a.txt", "b.txt"]),
    ("sort", ["-rn", "-k", "2,2", "-t,", "a.txt"]),
    ("find", []),
    ("find", [".", "-name", "*.py", "-not", "-path", "*/.git/*"]),
    ("find", ["src", "docs", "(", "-size", "+10k", "-o", "-mtime", "-7", ")", "-print"]),
]

NOT_KNOWN_TO_BE = [
    ("ls", ["-L"]),
    ("ls", ["-laZ"]),
    ("ls", ["--hyperlink"]),
    ("cat", ["--unknown"]),
    ("tail", ["-f", "a.txt"]),
    ("tail", ["--follow", "a.txt"]),
    ("wc", ["--files0-from=list"]),
    ("grep", ["-f", "/etc/passwd", "a.txt"]),
    ("grep", ["-R", "x", "."]),
    ("grep", ["-e"]),
    ("file", ["-C", "-m", "magic"]),
    ("file", ["-f", "names"]),
    ("file", ["-z", "a.gz"]),
    ("diff", ["-l", "a.txt", "b.txt"]),
    ("diff", ["--paginate", "a.txt", "b.txt"]),
    ("diff", ["--to-file=b.txt", "a.txt"]),
    ("sort", ["-o", "b.txt", "a.txt"]),
    ("sort", ["-ob.txt", "a.txt"]),
    ("sort", ["-ro", "b.txt", "a.txt"]),
    ("sort", ["a.txt", "-o", "a.txt"]),
    ("sort", ["--output=b.txt", "a.txt"]),
    ("sort", ["--outp=b.txt", "a.txt"]),
    ("sort", ["--output", "b.txt", "a.txt"]),
    ("sort", ["--compress-program=sh", "a.txt"]),
    ("sort", ["-T", "elsewhere", "a.txt"]),
    ("sort", ["-k", "-o", "a.txt"]),
    ("sort", ["-t", "-ob.txt", "a.txt"]),
    ("find", [".", "-exec", "rm", "{}", ";"]),
    ("find", [".", "-execdir", "sh", "-c", "x", ";"]),
    ("find", [".", "-ok", "rm", "{}", ";"]),
    ("find", [".", "-okdir", "rm", "{}", ";"]),
    ("find", [".", "-delete"]),
    ("find", [".", "-fprint", "b.txt"]),
    ("find", [".", "-fprint0", "b.txt"]),
    ("find", [".", "-fprintf", "b.txt", "x"]),
    ("find", [".", "-fls", "b.txt"]),
    ("find", [".", "-name", "-delete"]),
    ("find", [".", "-name"]),
    ("find", [".", "(", "-delete", ")"]),
    ("find", ["-L", "."]),
    ("find", ["-files0-from", "list"]),
    ("find", [".", "-newer", "/etc/passwd"]),
    ("cat", ["a\0b"]),
    ("echo", ["a\0b"]),
]

OUTSIDE = [
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "~/.ssh/id_rsa",
    "~root",
    "\\\\host\\x",
    "a\\..\\x",
    "C:\\x",
]


@pytest.mark.parametrize(("command", "args"), HARMLESS)
def test_a_command_that_only_reads_is_known(command: str, args: list[str]) -> None:
    assert is_reader(command)
    assert objection(command, args) is None


@pytest.mark.parametrize(("command", "args"), NOT_KNOWN_TO_BE)
def test_an_argument_that_may_make_more_of_it_is_objected_to(command: str, args: list[str]) -> None:
    assert is_reader(command)
    assert objection(command, args)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("command", [*(set(READERS) - {"grep"}), "find"])
def test_a_path_outside_of_the_workspace_is_objected_to(command: str, path: str) -> None:
    for args in ([path], ["a.txt", path], ["--", path] if command != "find" else [path, "-print"]):
        assert objection(command, args) == f"on {path}, which lies outside of the workspace"


@pytest.mark.parametrize("path", OUTSIDE)
def test_the_first_argument_of_grep_is_a_pattern_unless_there_is_another(path: str) -> None:
    assert objection("grep", [path, "a.txt"]) is None
    assert objection("grep", ["--", path, "a.txt"]) is None
    assert objection("grep", ["x", path])
    assert objection("grep", ["-e", "x", path])
    assert objection("grep", [path, "-ne", "x"])
    assert objection("grep", ["-C", path, "a.txt"]) is None  # -C may have no value: then this is the pattern
    assert objection("grep", ["-C", "2", path])


@pytest.mark.parametrize(
    "command",
    ["git", "sh", "python", "rm", "tee", "uniq", "xargs", "less", "LS", "ls ", "./ls", "/bin/ls", "", "ls -la"],
)
def test_no_other_command_is_a_reader(command: str) -> None:
    assert not is_reader(command)


# -- as they are run --------------------------------------------------------------------------------------------------


def _is_gnu(command: str) -> bool:
    found = shutil.which(command)
    if found is None or command in {"echo", "pwd"}:
        return found is not None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return "GNU" in told or (command == "file" and "magic" in told)


def _installed(command: str) -> str:
    if not _is_gnu(command):
        pytest.skip(f"{command} of GNU is not installed")
    return command


@pytest.fixture(scope="module", params=COMMANDS)
def command(request: pytest.FixtureRequest) -> str:
    return _installed(request.param)


@pytest.fixture(scope="module", params=READERS)
def command_with_options(request: pytest.FixtureRequest) -> str:
    """Any but those whose arguments have a grammar of their own."""
    return _installed(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("workspace")
    (made / "a.txt").write_text("b 2\na 10\na 10\n")
    (made / "b.txt").write_text("c\n")
    (made / "src").mkdir()
    (made / "src" / "x.py").write_text("import sys\n")
    return made


def content(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def run(folder: Path, command: str, args: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *args],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder)},
    )


def test_an_option_takes_the_next_argument_only_where_the_table_says_so(
    command_with_options: str, folder: Path
) -> None:
    """Where the table is wrong, what it takes for a value would be an option that nobody looked at."""
    command, reader = command_with_options, READERS[command_with_options]
    lacks = "requires an argument"
    for letter in reader.flags:
        if not letter.isdigit() and (command, letter) != ("grep", "C"):
            assert lacks not in run(folder, command, [f"-{letter}"]).stderr, letter
    for letter in reader.valued:
        assert lacks in run(folder, command, [f"-{letter}"]).stderr, letter
    for name in reader.long:
        assert lacks not in run(folder, command, [f"--{name}"]).stderr, name


def test_the_options_of_the_table_exist(command_with_options: str, folder: Path) -> None:
    command, reader = command_with_options, READERS[command_with_options]
    letters = [each for each in reader.flags if not each.isdigit()]
    for option in [*(f"-{letter}" for letter in letters), *(f"--{name}" for name in reader.long)]:
        told = run(folder, command, [option, "a.txt", "b.txt"]).stderr
        assert "invalid option" not in told, option
        assert "unrecognized option" not in told, option


HOSTILE = [
    *(
        "-o",
        "-oout",
        "-o=out",
        "-ro",
        "--output=out",
        "--outp=out",
        "--output",
        "--compress-program=touch",
        "-S1b",
        "-T.",
    ),
    *("-exec", "-execdir", "-ok", "-delete", "-fprint", "-fls", "-fprintf", "-fprint0", "touch", "out", ";", "{}", "+"),
    *(
        "-l",
        "-C",
        "-m",
        "-f",
        "-z",
        "-p",
        "--",
        "-",
        "-k",
        "-t",
        "-n",
        "-e",
        "-d",
        "-U",
        "-name",
        "-size",
        "(",
        ")",
        "!",
    ),
    *("-kt", "-nq", "-ne", "-te", "--files0-from=a.txt", "--paginate", "--from-file=a.txt", "-q", "-1", "-10", "+1"),
]
an_argument = st.sampled_from([*HOSTILE, *FIND_ALONE, *FIND_VALUED, "a.txt", "b.txt", "src", ".", "1", "x"])


@given(args=st.lists(an_argument, max_size=6))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_what_is_not_objected_to_changes_no_file(command: str, folder: Path, args: list[str]) -> None:
    if objection(command, args) is None:
        before = content(folder)

        run(folder, command, args)

        assert content(folder) == before


def test_every_option_of_the_table_changes_no_file(command: str, folder: Path) -> None:
    before = content(folder)
    if command == "find":
        options = [*([each] for each in FIND_ALONE), *([each, "1"] for each in FIND_VALUED)]
    else:
        reader = READERS.get(command, READERS["pwd"])
        options = [[f"-{each}"] for each in reader.flags] + [[f"-{each}", "1"] for each in reader.valued]
        options += [[f"--{each}"] for each in reader.long] + [[f"--{each}=1"] for each in reader.long_valued]

    for option in options:
        assert objection(command, option) is None
        run(folder, command, [*option, "a.txt", "b.txt"] if command != "find" else [".", *option])

    assert content(folder) == before


def test_git_status_executes_what_a_directory_says_and_so_is_no_reader(folder: Path, tmp_path: Path) -> None:
    """A `config` beside a `HEAD` is enough: no name in this directory is hidden."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("objects", "refs"):
        (tmp_path / name).mkdir()
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    settings_of_it = 'repositoryformatversion = 0\nbare = false\nworktree = .\nfsmonitor = "touch executed; false"\n'
    (tmp_path / "config").write_text(f"[core]\n{settings_of_it}")

    run(tmp_path, "git", ["status"])

    assert (tmp_path / "executed").exists()
    assert not is_reader("git")
