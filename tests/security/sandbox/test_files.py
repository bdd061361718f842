"""Other files of the host, and those of other tenants: by every name that a process has for a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.directory import ROOT
from tests.support.cage import IDENTITY, Cage, needs_root, said, uncaged, uncaged_python
from workspace.tools.errors import ToolError

SECRET = "the-neighbours-secret"


@pytest.fixture
def secret(cage: Cage) -> Path:
    """A file in another tenant's workspace."""
    return cage.neighbour().put("secret.txt", SECRET)


@pytest.fixture
def opened(secret: Path) -> Path:
    """The same file, with everything on the way to it opened for all: no permission of the host protects it."""
    _open_the_way(secret)
    return secret


def _open_the_way(path: Path) -> None:
    for each in (path, *path.parents):
        if "codelab-cage-" in str(each):
            each.chmod(0o777)


def uncaged_in(workspace: Path, *line: str) -> str:
    """Run a command in a workspace that its account can walk to and from: the store closes it again at each use."""
    _open_the_way(workspace)
    return uncaged(line, cwd=workspace)


def test_an_absolute_path_leads_nowhere(cage: Cage, opened: Path) -> None:
    assert SECRET in uncaged(["cat", str(opened)])

    result = cage.run("cat", str(opened))

    assert SECRET not in said(result)
    assert "No such file" in result.stderr


def test_no_number_of_parents_leads_out(cage: Cage, opened: Path) -> None:
    assert SECRET in uncaged_in(cage.workspace, "cat", f"../../{opened.relative_to(cage.base / 'workspaces')}")

    relative = os.path.relpath(opened, cage.workspace)
    for way in (relative, "../" * 20 + str(opened), f"../../{opened.relative_to(cage.base / 'workspaces')}"):
        assert SECRET not in said(cage.run("cat", way))
    assert cage.shell("cd ..; ls -a").stdout.split() == cage.run("ls", "-a", "/").stdout.split()


def test_a_link_leads_nowhere(cage: Cage, opened: Path) -> None:
    cage.run("ln", "-s", str(opened), "file")
    cage.run("ln", "-s", str(opened.parent), "directory")
    cage.run("ln", "-s", "../../../../../../../", "root")
    assert SECRET in uncaged_in(cage.workspace, "cat", "file")

    for way in ("file", "directory/secret.txt", f"root{opened}"):
        assert SECRET not in said(cage.run("cat", way))


def test_a_hard_link_to_a_file_of_the_host_cannot_be_made(cage: Cage, outside: Path) -> None:
    there = outside / "there"
    there.write_text(SECRET)
    there.chmod(0o666)
    assert uncaged(["ln", str(there), str(outside / "link")]) == ""

    assert cage.run("ln", str(there), "link").exit_code != 0
    assert cage.run("ln", "/usr/bin/id", "link").exit_code != 0
    assert cage.run("ls").stdout == ""


def test_a_descriptor_of_a_directory_does_not_lead_out(cage: Cage, opened: Path) -> None:
    """What bubblewrap was given, and what it keeps open, must not be there for the command."""
    climb = """
        import os, sys
        for pid in ("self", "thread-self", "1", *filter(str.isdigit, os.listdir("/proc"))):
            for kind in ("root", "cwd", *(f"fd/{number}" for number in range(64)), "task/1/root", "task/1/cwd"):
                for up in ("", "/..", "/../..", "/../../.."):
                    try:
                        start = os.open(f"/proc/{pid}/{kind}{up}", os.O_RDONLY)
                        print(os.listdir(start))
                        print(os.read(os.open(sys.argv[1].lstrip("/"), os.O_RDONLY, dir_fd=start), 100))
                    except OSError:
                        pass
        for number in range(3, 256):
            try:
                os.fstat(number)
                print("inherited", number)
            except OSError:
                pass
    """
    assert SECRET in uncaged_python(climb, str(opened))

    result = cage.python(climb, str(opened))

    assert result.exit_code == 0, said(result)
    assert SECRET not in said(result)
    assert "workspaces" not in said(result)
    assert cage.base.name not in said(result)


def test_nothing_but_pipes_and_null_is_open_in_any_process(cage: Cage) -> None:
    listing = cage.shell("ls -l /proc/1/fd /proc/self/fd").stdout

    targets = {line.rpartition(" -> ")[2] for line in listing.splitlines() if " -> " in line}
    assert {target.partition(":")[0] for target in targets} <= {"/dev/null", "pipe", "anon_inode"} | {
        target for target in targets if target.startswith("/proc/")
    }


def test_the_first_process_has_closed_what_it_had_of_the_host_before_a_command_begins(cage: Cage) -> None:
    """It closes the host's `/proc` when it finds the time: one in thirty commands was quicker."""
    for _ in range(150):
        result = cage.shell("for each in /proc/1/fd/*; do [ ! -d $each ] || ls $each/; done; ls /proc/1/fd")

        assert result.stdout.split() == ["0", "1", "2", "4"]


def test_all_that_there_is_belongs_to_the_system_or_to_the_sandbox(cage: Cage) -> None:
    assert cage.run("ls", "-A", "/").stdout.split() == [
        *("bin", "dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "workspace"),
    ]
    assert set(cage.run("ls", "-A", "/etc").stdout.split()) <= {"alternatives", "ld.so.cache"}
    for path in ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/run", "/sys", "/boot", "/mnt", "/opt"):
        assert cage.run("ls", path).exit_code != 0, path
    assert cage.run("ls", "-A", "/tmp", "/dev/shm").stdout.split() == ["/dev/shm:", "/tmp:"]


def test_the_workspace_is_the_only_place_that_lasts(cage: Cage) -> None:
    assert cage.shell("echo kept > kept; echo gone > /tmp/gone; mkdir d; cat /tmp/gone").stdout == "gone\n"

    assert cage.shell("cat kept; ls /tmp").stdout == "kept\n"
    assert (cage.workspace / "kept").read_text() == "kept\n"


@pytest.mark.parametrize(
    "directory", ["/", "/usr/", "/usr/bin/", "/dev/", "/etc/", "/proc/", "/bin/", "/lib/", "/proc/sys/"]
)
def test_the_system_cannot_be_written_to(cage: Cage, directory: str) -> None:
    result = cage.shell(f"echo x > {directory}codelab-leak")

    assert result.exit_code != 0
    assert not Path(directory, "codelab-leak").exists()


def test_a_file_of_the_host_cannot_be_written_to(cage: Cage, outside: Path) -> None:
    assert uncaged(["touch", str(outside / "control")]) == ""
    assert (outside / "control").exists()

    assert cage.run("touch", str(outside / "leak")).exit_code != 0

    assert not (outside / "leak").exists()


def test_what_a_command_writes_belongs_to_the_account_of_commands_and_to_nobody_else(cage: Cage) -> None:
    cage.shell("touch file; mkdir directory; chmod 4777 file")

    for name in ("file", "directory"):
        status = (cage.workspace / name).stat()
        assert (status.st_uid, status.st_gid) == (IDENTITY.uid, IDENTITY.gid)
        assert status.st_uid != 0
    assert (cage.workspace / "directory").stat().st_mode & 0o077 == 0


def test_a_device_cannot_be_made(cage: Cage) -> None:
    for kind in ("c 1 1", "b 254 0"):
        assert "not permitted" in cage.shell(f"mknod device {kind}").stderr


@needs_root
def test_the_directories_on_the_way_to_a_workspace_stay_closed(cage: Cage) -> None:
    """The account of commands cannot walk there, and still works there: only the one directory is carried over."""
    assert "ermission denied" in uncaged(["ls", str(cage.workspace)])

    assert cage.run("touch", "file").exit_code == 0

    assert (cage.base.stat().st_mode & 0o777, cage.base.stat().st_uid) == (0o700, 0)
    assert [entry.name for entry in cage.workspace.iterdir()] == ["file"]


SHARED = """
from pathlib import Path
from devstack.directory import ROOT
from tests.support.cage import new_cage
def mounts():
    return [line.partition(" - ")[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
before = mounts()
assert any("shared:" in line for line in before)
with new_cage() as cage:
    for _ in range(3):
        assert cage.run("true").exit_code == 0
    assert mounts() == before
print("nothing was left")
"""


@needs_root
def test_carrying_a_workspace_over_leaves_no_mount_behind(cage: Cage) -> None:
    """Also where mounts are shared between namespaces, as systemd has them."""
    before = Path("/proc/self/mountinfo").read_text()
    command = ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", SHARED]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert "nothing was left" in done.stdout, done.stderr
    assert cage.run("true").exit_code == 0
    assert Path("/proc/self/mountinfo").read_text() == before


def test_links_in_the_workspace_mislead_no_mount(cage: Cage, outside: Path) -> None:
    """bubblewrap 0.8 follows a tenant's links to a mount target below the workspace (CVE-2026-87766)."""
    for name in ("proc", "dev", "tmp", "usr", "etc", "workspace", ".git", "node_modules"):
        cage.run("ln", "-s", str(outside), name)

    cage.shell("for each in *; do touch $each/leak; mkdir -p $each; done")

    assert list(outside.iterdir()) == []
    assert cage.sandbox.probe()


def test_a_workspace_that_is_exchanged_for_a_link_is_not_followed(cage: Cage, opened: Path) -> None:
    """Not that a tenant could: the server's own directory is above it. It would have to be seen all the same."""
    moved = cage.workspace.rename(cage.base / "moved")
    cage.files.path(cage.key).symlink_to(opened.parent)

    with pytest.raises(ToolError):  # the server refuses to open it
        cage.run("cat", "secret.txt")

    assert moved.exists()
