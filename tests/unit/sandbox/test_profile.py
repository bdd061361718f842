"""The arguments of bubblewrap: what must be there, and what must never be."""

from workspace.sandbox import Identity, Limits, profile
from workspace.sandbox.profile import Descriptors, Programs

PROGRAMS = Programs(
    sh="/usr/bin/sh",
    choom="/usr/bin/choom",
    setpriv="/usr/bin/setpriv",
    prlimit="/usr/bin/prlimit",
    bwrap="/usr/bin/bwrap",
)
WITH_DESTINATION = {"--bind", "--ro-bind", "--ro-bind-try", "--symlink"}
"""Options whose second value is a place in the sandbox."""
ON_PLACE = {"--tmpfs", "--proc", "--dev", "--remount-ro", "--dir"}


ROOTS = Identity(70, 71, is_worker=False)


def line(identity: Identity = ROOTS) -> list[str]:
    return profile.arguments(
        PROGRAMS,
        ["ls", "--all"],
        identity=identity,
        worker=4711,
        source="/mnt",
        descriptors=Descriptors(seccomp=8, status=9),
        limits=Limits(),
    )


def options() -> list[str]:
    words = line()
    return words[words.index(PROGRAMS.bwrap) + 1 : len(words) - words[::-1].index("--")]


def test_every_wall_of_the_profile_is_asked_for() -> None:
    asked = " ".join(options())
    for wall in (
        *("--unshare-all", "--unshare-user", "--disable-userns", "--assert-userns-disabled", "--die-with-parent"),
        *("--new-session", "--uid 1000 --gid 1000", "--cap-drop ALL", "--clearenv", "--ro-bind /usr /usr"),
        *("--proc /proc --ro-bind /proc/sys /proc/sys", "--remount-ro /dev", "--remount-ro /", "--seccomp 8"),
        *("--size 8388608 --tmpfs /dev/shm", "--size 67108864 --tmpfs /tmp", "--bind /mnt /workspace"),
    ):
        assert f" {wall} " in f" {asked} ", wall


def test_nothing_is_mounted_below_the_workspace() -> None:
    """bubblewrap would follow the tenant's links to such a place (CVE-2026-87766)."""
    words = options()
    places = [words[at + 2] for at, word in enumerate(words) if word in WITH_DESTINATION]
    places += [words[at + 1] for at, word in enumerate(words) if word in ON_PLACE]

    assert "/workspace" in places
    assert not [place for place in places if place.startswith("/workspace/")]


def test_only_the_workspace_can_be_written_to() -> None:
    words = options()

    assert words.count("--bind") == 1
    assert not {"--dev-bind", "--bind-try", "--bind-data", "--file", "--overlay"} & set(words)
    assert words.index("--remount-ro") < len(words)
    last = max(at for at, word in enumerate(words) if word in WITH_DESTINATION | ON_PLACE)
    assert words[last : last + 2] == ["--remount-ro", "/"]


def test_every_temporary_directory_is_sized() -> None:
    words = options()
    for at, word in enumerate(words):
        if word == "--tmpfs":
            assert words[at - 2] == "--size"


def test_no_variable_of_the_worker_is_passed_on() -> None:
    words = options()
    variables = {words[at + 1] for at, word in enumerate(words) if word == "--setenv"}

    assert variables == {"PATH", "HOME", "LANG"}
    assert words.index("--clearenv") < words.index("--setenv")


def test_the_number_of_processes_is_limited_inside_and_all_else_outside() -> None:
    words = line()
    border = words.index(PROGRAMS.bwrap)
    outside, inside = words[:border], words[border:]

    assert {"--cpu=300", "--as=8589934592", "--fsize=1073741824", "--nofile=256", "--core=1"} <= set(outside)
    assert not [word for word in outside if "nproc" in word]
    assert inside[-5:] == ["/usr/bin/prlimit", "--nproc=128:128", "--", "ls", "--all"]


def test_the_kernel_ends_a_command_rather_than_the_worker_when_memory_runs_out() -> None:
    assert line()[:3] == ["/usr/bin/choom", "--adjust=1000", "--"]


def test_root_is_given_up_before_any_limit_and_before_bubblewrap() -> None:
    assert line()[3:10] == [
        *("/usr/bin/setpriv", "--reuid=70", "--regid=71", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL", "--"),
    ]


def test_an_account_that_is_not_root_has_nothing_to_give_up() -> None:
    assert line(Identity(70, 71, is_worker=True))[3:7] == [
        *("/usr/bin/setpriv", "--no-new-privs", "--pdeathsig=KILL", "--"),
    ]


def test_nothing_begins_for_a_worker_that_ended_before_the_kernel_was_asked_to_tell_of_it() -> None:
    words = line()
    asked = words.index("--pdeathsig=KILL") + 1

    assert words[asked + 1 : asked + 6] == ["/usr/bin/sh", "-c", profile.ONLY_WITH_ITS_WORKER, "sh", "4711"]


def test_the_command_waits_for_the_first_process_to_close_what_it_has_of_the_host() -> None:
    words = line()
    inside = words[len(words) - words[::-1].index("--json-status-fd") :]

    assert inside[:6] == ["9", "--", "/bin/sh", "-c", profile.WHEN_SETTLED, "sh"]
