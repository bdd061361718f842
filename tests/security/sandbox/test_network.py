"""Ways to anybody else: every family of sockets that could reach further than the sandbox."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cage import Cage, said, uncaged_python

GREETING = b"greetings-from-the-host"

FAMILIES = """
    import socket, sys
    for name, family, kind in (("vsock", 40, 1), ("netlink", 16, 3), ("packet", 17, 3), ("alg", 38, 5), ("tipc", 30, 1),
                               ("can", 29, 3), ("bluetooth", 31, 3), ("rds", 21, 5), ("xdp", 44, 3), ("kcm", 41, 2)):
        try:
            socket.socket(family, kind)
            print(name, "opened")
        except OSError as error:
            print(name, error.errno)
"""


@contextmanager
def listening(server: socket.socket) -> Iterator[None]:
    """Greet everybody who connects to a socket of the host."""

    def greet() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(GREETING)

    server.listen()
    thread = threading.Thread(target=greet)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


CONNECT = """
    import socket, sys
    address = sys.argv[1]
    kind = socket.AF_UNIX if address[0] in "@/" else socket.AF_INET
    client = socket.socket(kind)
    client.settimeout(5)
    client.connect(address.replace("@", "\\0") if kind == socket.AF_UNIX else ("127.0.0.1", int(address)))
    print(client.recv(100))
"""


def test_no_server_of_the_host_can_be_reached(cage: Cage) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = str(server.getsockname()[1])
    with listening(server):
        assert GREETING.decode() in uncaged_python(CONNECT, port)

        result = cage.python(CONNECT, port)

    assert "Connection refused" in result.stderr
    assert GREETING.decode() not in said(result)


def test_no_abstract_socket_of_the_host_can_be_reached(cage: Cage) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"\0{cage.base.name}")
    with listening(server):
        assert GREETING.decode() in uncaged_python(CONNECT, f"@{cage.base.name}")

        result = cage.python(CONNECT, f"@{cage.base.name}")

    assert "Connection refused" in result.stderr
    assert GREETING.decode() not in said(result)


def test_there_is_no_network_but_the_sandboxs_own(cage: Cage) -> None:
    assert "lo" in cage.run("cat", "/proc/net/dev").stdout
    names = [line.split(":")[0].strip() for line in cage.run("cat", "/proc/net/dev").stdout.splitlines()[2:]]
    assert names == ["lo"]
    assert cage.run("cat", "/proc/net/route").stdout.count("\n") <= 1

    for address in ("8.8.8.8", "169.254.169.254", "10.0.0.1"):
        result = cage.python(
            f"""
            import socket
            socket.create_connection(({address!r}, 53), timeout=5)
            """
        )
        assert "Network is unreachable" in result.stderr


def test_no_name_is_looked_up(cage: Cage) -> None:
    result = cage.python("import socket; print(socket.getaddrinfo('example.com', 80))")

    assert result.exit_code == 1
    assert "gaierror" in result.stderr


def test_a_server_inside_can_be_used_inside(cage: Cage) -> None:
    """Tests of web programs need it, and it is gone with the command."""
    result = cage.python(
        """
        import socket
        server = socket.create_server(("127.0.0.1", 8000))
        client = socket.create_connection(server.getsockname())
        server.accept()[0].sendall(b"hello")
        print(client.recv(10))
        """
    )

    assert result.stdout == "b'hello'\n"


def test_every_other_family_of_sockets_is_refused(cage: Cage) -> None:
    """A network namespace does not hold AF_VSOCK, which leads to the host of a virtual machine."""
    plain = uncaged_python(FAMILIES)
    assert "netlink opened" in plain

    result = cage.python(FAMILIES)

    assert [line.split()[1] for line in result.stdout.splitlines()] == ["1"] * 10, said(result)


def test_a_pair_of_sockets_is_of_unix_only(cage: Cage) -> None:
    code = """
        import socket
        socket.socketpair()
        for family in (2, 16, 30, 40):
            try:
                socket.socketpair(family)
                print(family)
            except OSError as error:
                assert error.errno in (1, 95), error
    """
    assert said(cage.python(code)) == ""
