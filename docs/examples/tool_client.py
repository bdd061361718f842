"""Carry out the tools of Codelab Core on your own machine, inside one directory, and say yes or no to them.

    python tool_client.py --api URL --project ID --directory DIR [--session ID] [--allow-commands] [--yes]

One file for Python 3.11 or later and nothing else, to be read, run and changed. README.md beside it tells what it does,
what it refuses, and what its exit codes mean.
"""

import argparse
import base64
import codecs
import fnmatch
import hashlib
import http.client
import inspect
import io
import json
import os
import secrets
import selectors
import signal
import stat
import subprocess
import sys
import time
import unicodedata
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO, Any, NoReturn
from urllib.parse import urlencode, urlsplit

FAILED, TOKEN_REFUSED, GONE, INTERRUPTED = 1, 3, 4, 130  # exit codes; 2 is argparse's

OUTPUT_BYTES = 1_000_000  # of a result as it is sent; the server takes bodies of 1 MiB
READ_BYTES = 150_000  # of a file in one call: it can be sent even if each byte has to be escaped with six
FILE_BYTES = 100_000_000
ENTRIES = 1_000
PATH_CHARACTERS, PATH_LEVELS = 1_024, 32
COMMAND_SECONDS, MOST_COMMAND_SECONDS = 60, 300
SILENT_SECONDS = 60  # an open stream has a heartbeat every 30
ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE = 8, 0.5, 15.0

ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR")
"""All that a command sees of this program's environment, which may hold the token."""

LOST = (OSError, http.client.HTTPException)
"""What a lost connection looks like."""

Json = dict[str, Any]


class ToolFailed(Exception):
    """A tool could not do what it was asked for. The agent is told why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.error = {"code": code, "detail": detail}


class Stop(Exception):
    """The client cannot go on."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


# Files: everything goes through the wall ----------------------------------------------------------------------------

if not {os.open, os.stat, os.mkdir, os.rename, os.unlink, os.link} <= os.supports_dir_fd or os.name != "posix":
    sys.exit("error: this system cannot keep tools inside of a directory: it opens no files below an open directory")

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a pipe must not block
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def parts_of(path: str) -> list[str]:
    """Return the names that a path goes through, if it is one that stays below."""
    hidden = any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in path)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not path or path.startswith("/") or "\\" in path or hidden or ".." in parts:
        raise ToolFailed("invalid_path", "A path is relative and has no `..`, backslash or hidden characters.")
    if len(path) > PATH_CHARACTERS or len(parts) > PATH_LEVELS:
        raise ToolFailed("invalid_path", "The path is too long.")
    return parts


def file_of(path: str) -> tuple[list[str], str]:
    """Return the directories that lead to a file, and its name."""
    parts = parts_of(path)
    if not parts or path.endswith(("/", "/.")):
        raise ToolFailed("invalid_path", "The path names a directory.")
    return parts[:-1], parts[-1]


def is_plain(found: os.stat_result) -> bool:
    """Whether it is a regular file with one name only: a second one may be outside of the directory."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


class Wall:
    """One directory, held open. Paths are walked from it name by name, and never through a link.

    So names may change at any moment: there is no look at a path first and use of it afterwards.
    """

    def __init__(self, directory: str) -> None:
        self.root = os.open(directory, FOLDER & ~os.O_NOFOLLOW)

    @contextmanager
    def folder(self, parts: list[str], *, make: bool = False) -> Iterator[int]:
        """Open a directory."""
        here = os.dup(self.root)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                below = os.open(part, FOLDER, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)

    @contextmanager
    def plain(self, folder: int, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading."""
        # Looked at first only because opening a device can already do something; what is open is what counts.
        if is_plain(os.stat(name, dir_fd=folder, follow_symlinks=False)):
            with os.fdopen(os.open(name, READ, dir_fd=folder), "rb") as file:
                if is_plain(os.fstat(file.fileno())):
                    yield file
                    return
        raise ToolFailed("not_a_file", "It is a directory, a link, a pipe, a device, or has a second name.")


def read_file(wall: Wall, path: str, offset: int = 0, length: int = 100_000) -> Json:
    """Read a part of a file: as text, or as base64 if it is none. Characters that are cut at its ends are left out."""
    parents, name = file_of(path)
    with wall.folder(parents) as folder, wall.plain(folder, name) as file:
        size = os.fstat(file.fileno()).st_size
        begin = file.seek(max(0, offset))
        data = file.read(min(max(4, length), READ_BYTES))  # one character at least
    end = begin + len(data)
    try:
        if b"\0" in data:
            raise ValueError
        cut = next((at for at, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), 0) if begin else 0
        decoder = codecs.getincrementaldecoder("utf-8")()
        content, encoding = decoder.decode(data[cut:], final=end >= size), "utf-8"
        begin, end = begin + cut, end - len(decoder.getstate()[0])
    except ValueError:
        content, encoding = base64.b64encode(data).decode(), "base64"
    part = {"path": path, "content": content, "encoding": encoding, "size": size, "offset": begin}
    return {**part, "truncated": end < size, "next_offset": end if end < size else None}


def write_file(wall: Wall, path: str, content: str, mode: str = "overwrite") -> Json:
    """Write a new file and put it in its place: what has this name is replaced, never written through."""
    if mode not in {"overwrite", "append", "create"}:
        raise ToolFailed("invalid_arguments", "mode is overwrite, append or create.")
    parents, name = file_of(path)
    data = content.encode()
    with wall.folder(parents, make=True) as folder:
        before = None
        with suppress(FileNotFoundError):
            before = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if before is not None and mode == "create":
            raise FileExistsError
        if before is not None and mode == "append":
            with wall.plain(folder, name) as file:
                data = file.read(FILE_BYTES) + data
        if len(data) > FILE_BYTES:
            raise ToolFailed("too_large", "The file would be too large.")
        place(folder, name, data, before, new=mode == "create")
    return {"path": path, "size": len(data), "created": before is None}


def place(folder: int, name: str, data: bytes, before: os.stat_result | None, *, new: bool) -> None:
    """Write a file under another name, and rename it."""
    draft = f".tool-client-{secrets.token_hex(8)}"
    opened = os.open(draft, WRITE, 0o666, dir_fd=folder)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            if before is not None and stat.S_ISREG(before.st_mode):
                os.fchmod(opened, before.st_mode & 0o777)
        if new:
            # Unlike a rename, this fails if the name is taken by now.
            os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        else:
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)


def list_directory(wall: Wall, path: str = ".", recursive: bool = False, pattern: str | None = None) -> Json:
    """List what is in a directory; links are shown and not followed."""
    shown: list[Json] = []
    parts = parts_of(path)
    with closing(entries(wall, parts, recursive=recursive)) as found:
        for names, entry in found:
            compared = "/".join(names[len(parts) :]) if "/" in (pattern or "") else names[-1]
            if pattern is None or fnmatch.fnmatchcase(compared, pattern):
                if len(shown) == ENTRIES:
                    return {"path": path, "entries": shown, "truncated": True}
                shown.append(entry)
    return {"path": path, "entries": shown, "truncated": False}


def entries(wall: Wall, parts: list[str], *, recursive: bool) -> Generator[tuple[list[str], Json]]:
    """Yield what is in a directory, and below it."""
    with wall.folder(parts) as folder:
        with os.scandir(folder) as found:
            names = sorted(each.name for each in found)
        for name in names:
            try:
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # gone meanwhile
            kind = KINDS.get(stat.S_IFMT(info.st_mode), "other")
            here = [*parts, name]
            # A name may be bytes that are no text.
            entry = {"path": "/".join(here).encode(errors="backslashreplace").decode(), "type": kind}
            yield here, (entry | {"size": info.st_size} if kind == "file" else entry)
            if recursive and kind == "directory" and len(parts) < PATH_LEVELS:
                with suppress(OSError):
                    yield from entries(wall, here, recursive=True)


# Commands: a list of words, never a shell; they are not inside the wall, so they have to be allowed -----------------


def execute_command(wall: Wall, command: str, args: list[str] | None = None, timeout: float | None = None) -> Json:
    """Run a command in the directory, with a limit of time and of output."""
    words = [command, *(args or [])]
    if not all(isinstance(word, str) for word in words):
        raise ToolFailed("invalid_arguments", "args is a list of texts.")
    os.fchdir(wall.root)
    started = time.monotonic()
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    )  # fmt: skip
    try:
        end = started + min(max(1, timeout or COMMAND_SECONDS), MOST_COMMAND_SECONDS)
        texts, timed_out = captured(process, end)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    was_full = sum(map(len, texts.values())) >= OUTPUT_BYTES
    return {
        "exit_code": None if timed_out or was_full else process.returncode,
        **{name: bytes(data).decode(errors="replace").replace("\0", "\ufffd") for name, data in texts.items()},
        "truncated": was_full,
        "timed_out": timed_out,
        "duration_seconds": round(time.monotonic() - started, 3),
    }


def captured(process: subprocess.Popen[bytes], end: float) -> tuple[dict[str, bytearray], bool]:
    """Read what a command writes until it ends, the time is up, or it has written enough."""
    texts = {"stdout": bytearray(), "stderr": bytearray()}
    with selectors.DefaultSelector() as selector:
        for name, text in texts.items():
            selector.register(getattr(process, name), selectors.EVENT_READ, text)
        while selector.get_map() and sum(map(len, texts.values())) < OUTPUT_BYTES:
            has_ended = process.poll() is not None
            ready = selector.select(min(0.2, max(0.0, end - time.monotonic())))
            if not ready and has_ended:
                return texts, False  # what it left behind holds its pipes open
            if time.monotonic() >= end:
                return texts, not has_ended
            for key, _ in ready:
                data = os.read(key.fd, 65_536)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
        if not selector.get_map():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                return texts, True
    return texts, False


# From a call to its result ------------------------------------------------------------------------------------------

TOOLS: dict[str, Callable[..., Json]] = {
    tool.__name__: tool for tool in (read_file, write_file, list_directory, execute_command)
}
KINDS_OF_ARGUMENTS: dict[str, Any] = dict.fromkeys(("path", "content", "mode", "command"), str)
KINDS_OF_ARGUMENTS |= {"offset": int, "length": int, "recursive": bool, "pattern": str | None}
KINDS_OF_ARGUMENTS |= {"args": list | None, "timeout": int | float | None}
ERRORS = {FileNotFoundError: "not_found", NotADirectoryError: "not_a_directory", FileExistsError: "already_exists"}
ERRORS |= {IsADirectoryError: "not_a_file", PermissionError: "permission_denied"}


def digest(tool: str, arguments: Json) -> str:
    """Return what a call's approval is bound to."""
    text = json.dumps([tool, arguments], ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def carry_out(wall: Wall, tool: str, arguments: Json, *, allow_commands: bool) -> Json:
    """Carry out a call, and return its `output` or its `error`. No detail has a path of this machine."""
    try:
        if tool not in TOOLS:
            raise ToolFailed("unknown_tool", "This client has no such tool.")
        if tool == "execute_command" and not allow_commands:
            raise ToolFailed("command_not_allowed", "The owner's client runs no commands.")
        return {"output": fitting(TOOLS[tool](wall, **checked(TOOLS[tool], arguments)))}
    except ToolFailed as failed:
        return {"error": failed.error}
    except OSError as error:
        code = next((code for kind, code in ERRORS.items() if isinstance(error, kind)), "client_error")
        return {"error": {"code": code, "detail": f"{error.strerror or 'It is there already'}."}}
    except ValueError:
        return {"error": {"code": "invalid_arguments", "detail": "A text in it cannot be used."}}
    except Exception as error:
        # The agent is told, and the client goes on with the next call.
        return {"error": {"code": "client_error", "detail": f"The client failed with {type(error).__name__}."}}


def checked(tool: Callable[..., Json], arguments: Json) -> Json:
    """Return a tool's arguments, if they fit it: they are a model's words, and may be anything."""
    try:
        inspect.signature(tool).bind(None, **arguments)
    except TypeError as error:
        raise ToolFailed("invalid_arguments", str(error)) from None
    for name, value in arguments.items():
        if not isinstance(value, KINDS_OF_ARGUMENTS[name]):
            raise ToolFailed("invalid_arguments", f"{name} is of the wrong type.")
    return arguments


def fitting(output: Json) -> Json:
    """Cut a result until it can be sent."""
    while len(json.dumps(output)) > OUTPUT_BYTES:
        longest = max(("stdout", "stderr", "entries"), key=lambda name: len(json.dumps(output.get(name))))
        output[longest] = output[longest][: len(output[longest]) // 2]
        output["truncated"] = True
    return output


# The API ------------------------------------------------------------------------------------------------------------


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where the API is, is said once: the token goes to nobody else."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


class Refused(Exception):
    """The API answered with an error."""

    def __init__(self, error: urllib.error.HTTPError) -> None:
        self.status = error.code
        self.may_pass = error.code == 429 or error.code >= 500
        self.pause = error.headers.get("Retry-After", "")
        try:
            self.problem: Json = dict(json.loads(error.read(100_000)))
        except (*LOST, ValueError, TypeError):
            self.problem = {"detail": error.reason}  # of a proxy
        super().__init__(f"{error.code}: {self.problem.get('detail')}")


class Api:
    """The project's part of the HTTP API."""

    def __init__(self, url: str, token: str, project: str) -> None:
        self.project = f"{url.rstrip('/')}/my/projects/{project}"
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.opener = urllib.request.build_opener(NoRedirects)

    def open(self, method: str, path: str, body: Json | None = None, cursor: str = "") -> Any:
        """Send one request."""
        data = None if body is None else json.dumps(body).encode()
        headers = self.headers | ({"Last-Event-ID": cursor} if cursor else {})
        request = urllib.request.Request(self.project + path, data, headers, method=method)
        try:
            return self.opener.open(request, timeout=SILENT_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                refused = Refused(error)
            if refused.status == 401:
                raise Stop(TOKEN_REFUSED, "the API does not accept the token") from None
            raise refused from None

    def call(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Send a request, again if need be, and return the answer's status and body.

        All that is sent here may arrive twice: the API takes the second for the first.
        """
        reason: Exception | None = None
        for attempt in range(ATTEMPTS):
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            try:
                with self.open(method, path, body) as answer:
                    return answer.status, json.load(answer)
            except Refused as refused:
                if not refused.may_pass:
                    return refused.status, refused.problem
                reason = refused
                pause = min(float(refused.pause), LONGEST_PAUSE) if refused.pause.isdecimal() else pause
            except (*LOST, ValueError) as error:
                reason = error
            time.sleep(pause)
        raise ConnectionError(f"{method} {path} failed {ATTEMPTS} times: {reason}")

    def items(self, path: str, **wanted: str) -> Iterator[Json]:
        """Yield a whole list, page by page."""
        while True:
            status, page = self.call("GET", f"{path}?{urlencode(wanted)}")
            if status != 200:
                raise Stop(FAILED, f"GET {path} answered {status}: {page.get('detail')}")
            yield from page["items"]
            if not page["next_cursor"]:
                return
            wanted["cursor"] = page["next_cursor"]


# The person at the terminal -----------------------------------------------------------------------------------------


def visible(value: Any) -> str:
    """Return what a model wrote so that it cannot move the cursor, hide letters or pretend to be this program."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    shown = (each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)
    return "".join(shown).replace("\n", "\n    ")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def asked_for(payload: Json) -> Any:
    """Return what a person says yes or no to: the tasks of a plan, or the arguments of a tool."""
    if payload.get("plan"):
        fields = ("id", "agent_name", "instruction", "depends_on")
        return [{field: task[field] for field in fields} for task in payload["plan"]["tasks"]]
    return payload.get("arguments", payload)


def asked() -> Json:
    """Return the decision of the person; raises `EOFError` if nobody can answer here."""
    if sys.stdin.isatty():
        import termios

        # What was typed before the question is no answer to it.
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    answer = ""
    while answer not in {"y", "n"}:
        answer = input("  allow it? [y/n] ").strip().lower()
    if answer == "y":
        return {"decision": "approve"}
    reason = input("  why not? (the agent is told) ").strip()[:1_000]
    return {"decision": "reject", "reason": reason} if reason else {"decision": "reject"}


# The session --------------------------------------------------------------------------------------------------------


class Client:
    """One session: what its owner is asked, and what is carried out here."""

    def __init__(self, api: Api, session: str, wall: Wall, *, allow_commands: bool, yes: bool) -> None:
        self.api, self.session, self.wall = api, session, wall
        self.allow_commands, self.yes = allow_commands, yes
        self.decided: set[str] = set()
        self.results: dict[str, Json | None] = {}
        """By tool call; None once the API has it. A call is carried out once, however often it is told of."""

    def follow(self) -> NoReturn:
        """Follow the session's events for ever, over lost connections."""
        cursor, pause = "", FIRST_PAUSE
        while True:
            reason: Exception | str = "the stream has ended"
            try:
                for event in self.events(cursor):
                    cursor, pause = event["id"] or cursor, FIRST_PAUSE
            except Refused as refused:
                if not refused.may_pass:
                    raise Stop(GONE if refused.status == 404 else FAILED, f"the session answered {refused}") from None
                reason = refused
            except (*LOST, ValueError) as error:
                reason = error
            say(f"connection: {reason}; again in {pause:g} s")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def events(self, cursor: str) -> Iterator[Json]:
        """Yield the events behind the cursor, each after it was seen to."""
        # Without a cursor the stream begins with now: what waited before is asked for as soon as it is open.
        has_missed = not cursor
        with self.api.open("GET", f"/chat/{self.session}/events/", cursor=cursor) as stream:
            for line in stream:
                event = json.loads(line)
                if has_missed or event["event_type"] == "stream_gap":
                    self.catch_up()
                    has_missed = False
                self.handle(event["event_type"], event.get("payload") or {})
                yield event

    def catch_up(self) -> None:
        """See to all that waits, whether an event told of it or not."""
        for item in list(self.api.items("/approvals/", status="pending", session_id=self.session)):
            self.decide(item["id"], item["payload"])
        waiting = {"execution": "client", "status": "running", "session_id": self.session}
        for item in list(self.api.items("/tool-calls/", **waiting)):
            self.work(item["id"])

    def handle(self, kind: str, payload: Json) -> None:
        """Act on an event, or print it; types that are not known are skipped."""
        match kind:
            case "approval_required":
                self.decide(payload["approval_id"], payload)
            case "tool_request":
                self.work(payload["tool_call_id"], payload["digest"])
            case "approval_resolved" | "approval_expiring":
                say(f"{kind}: {payload.get('status') or payload.get('expires_at')}")
            case "message_created" | "error" | "run_failed" | "run_cancelled":
                text = payload.get("content") or payload.get("detail") or payload.get("error")
                say(f"{payload.get('role') or kind}: {visible(text)}")

    def decide(self, approval: str, payload: Json) -> None:
        """Ask the person about one approval and send the decision."""
        if approval in self.decided:
            return
        is_plan = payload.get("tool") is None
        if is_plan or payload.get("arguments_complete") is False:
            # Nobody is asked about half of a text, or about a plan by its size alone.
            payload = self.api.call("GET", f"/approvals/{approval}/")[1].get("payload") or payload
        who, what = payload.get("agent_name"), "a plan" if is_plan else payload["tool"]
        say(f"approval: {visible(who or 'an agent')} asks for {visible(what)}, risk {visible(payload.get('risk'))}")
        for reason in payload.get("reasons") or ():
            say(f"  because{':' if is_plan else ' it'} {visible(reason)}")
        say(f"    {visible(asked_for(payload))}")
        try:
            decision = {"decision": "approve", "reason": "--yes"} if self.yes else asked()
        except EOFError:
            say("  nobody can answer here; it is left to other clients")
        else:
            status, answer = self.api.call("POST", f"/approvals/{approval}/confirm/", decision)
            say(f"  {answer.get('status') if status == 200 else answer.get('detail')}")
        self.decided.add(approval)

    def work(self, identifier: str, told: str | None = None) -> None:
        """Carry out a call and send its result. What counts is the stored call: an event may be old or cut."""
        if identifier in self.results and self.results[identifier] is None:
            return
        if identifier not in self.results:
            status, call = self.api.call("GET", f"/tool-calls/{identifier}/")
            if status != 200 or (call["execution"], call["status"]) != ("client", "running"):
                return
            say(f"tool: {visible(call['tool'])} {visible(json.dumps(call['arguments'], ensure_ascii=False))[:200]}")
            self.results[identifier] = {"digest": call["digest"], **self.result_of(call, told)}
        address, result = f"/tool-calls/{identifier}/result/", self.results[identifier]
        status, answer = self.api.call("POST", address, result)
        if status not in {200, 404, 409}:
            # The agent must not wait for a result that the API does not take.
            failure = {"code": "client_error", "detail": f"The API did not take the result: {answer.get('detail')}"}
            status, answer = self.api.call("POST", address, {"error": failure})
        say(f"  {answer.get('status') if status == 200 else answer.get('detail')}")
        self.results[identifier] = None

    def result_of(self, call: Json, told: str | None) -> Json:
        """Return the output or error of a call, if it is the one that was approved."""
        own = digest(call["tool"], call["arguments"])
        if own != call["digest"] or told not in {None, own}:
            return {"error": {"code": "arguments_changed", "detail": "The digest is not that of the arguments."}}
        return carry_out(self.wall, call["tool"], call["arguments"], allow_commands=self.allow_commands)


# The command line ---------------------------------------------------------------------------------------------------


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Carry out an agent's tools inside one directory of this machine.")
    parser.add_argument("--api", required=True, metavar="URL", help="address of the API, as http://127.0.0.1:8000")
    parser.add_argument(
        "--token", default=os.environ.get("TOKEN"), help="the user's; better as TOKEN in the environment"
    )
    parser.add_argument("--project", required=True, type=uuid.UUID, metavar="ID", help="a project of the user")
    parser.add_argument("--directory", required=True, metavar="DIR", help="what tools reach: nothing outside of it")
    parser.add_argument("--session", type=uuid.UUID, metavar="ID", help="a session of it; without, one is made")
    parser.add_argument("--allow-commands", action="store_true", help="run commands, which reach whatever you can")
    parser.add_argument("--yes", action="store_true", help="approve everything without asking")
    options = parser.parse_args(arguments)
    if urlsplit(options.api).scheme not in {"http", "https"} or not urlsplit(options.api).hostname:
        parser.error("--api is an address such as https://api.example.com")
    if not options.token:
        parser.error("a token is needed: --token, or TOKEN in the environment")
    return options


def run(options: argparse.Namespace) -> NoReturn:
    """Follow the session that the command line names."""
    try:
        wall = Wall(options.directory)
    except OSError as error:
        raise Stop(FAILED, f"--directory {options.directory}: {error.strerror}") from None
    address = urlsplit(options.api)
    if address.scheme == "http" and address.hostname not in {"localhost", "127.0.0.1", "::1"}:
        say("warning: the token travels in the clear; use https")
    api = Api(options.api, options.token, str(options.project))
    status, project = api.call("GET", "/")
    if status != 200:
        raise Stop(GONE if status == 404 else FAILED, f"the project answered {status}: {project.get('detail')}")
    if project.get("tool_execution") != "client":
        say("note: tools of this project run on the server, until it is PUT with tool_execution 'client'")
    session = {"id": str(options.session)}
    if options.session is None:
        status, session = api.call("POST", "/chat/sessions/", {})
        if status != 201:
            raise Stop(FAILED, f"no session was made: {status}: {session.get('detail')}")
    say(f"session {session['id']}")
    Client(api, session["id"], wall, allow_commands=options.allow_commands, yes=options.yes).follow()


def main(arguments: list[str] | None = None) -> int:
    """Run the client and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter must not end it
    try:
        run(options_of(arguments))
    except Stop as stop:
        print(f"error: {stop}", file=sys.stderr)
        return stop.code
    except ConnectionError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
