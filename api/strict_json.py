"""Request bodies: whatever is read as JSON goes through the strict loader, and no body is ever cut."""

from typing import IO, Any, cast

from flask import Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from workspace.strict_json import JsonValue, loads


class UnsupportedContentType(Exception):
    """The body must be sent as something else."""

    def __init__(self, wanted: str = "application/json") -> None:
        self.detail = f"the body must be sent as {wanted}"
        super().__init__(self.detail)


class StrictJSONProvider(DefaultJSONProvider):
    """Makes `app.json.loads` and `flask.json.loads` the same door as `loads`."""

    def loads(self, s: str | bytes, **kwargs: Any) -> JsonValue:
        """Parse `s`; options of `json.loads` are refused because each of them would open a rule."""
        if kwargs:
            raise TypeError("the strict loader takes no options")
        return loads(s.encode(errors="surrogatepass") if isinstance(s, str) else s)


class _CappedStream(LimitedStream):
    """Refuses a body longer than the cap.

    Werkzeug's own stream stops reading at the cap and hands out what it has, as if the body ended there. This one
    lets one byte more through, and that byte is the proof.
    """

    def __init__(self, stream: IO[bytes], cap: int) -> None:
        super().__init__(stream, cap + 1, is_max=True)

    def readinto(self, b: bytearray) -> int | None:  # type: ignore[override]  # as the base class declares it
        size = super().readinto(b)
        if self.is_exhausted:
            raise RequestEntityTooLarge
        return size


class StrictRequest(Request):
    """A request whose JSON always went through `loads` and whose body is never cut."""

    _json: JsonValue
    _json_is_parsed = False

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body; reading past `MAX_CONTENT_LENGTH` raises `RequestEntityTooLarge`, also for a chunked body."""
        stream = super().stream
        cap = self.max_content_length
        if cap is not None and "wsgi.input_terminated" in self.environ:
            return cast(IO[bytes], _CappedStream(self.environ["wsgi.input"], cap))
        return stream

    def get_json(
        self,
        force: bool = False,  # noqa: ARG002  # the signature is Flask's
        silent: bool = False,
        cache: bool = True,  # noqa: ARG002
    ) -> JsonValue:
        """Return the parsed body; `silent` allows only its absence, which is None.

        Flask's signature has `force` and `cache`; both are ignored: the content type always counts, and the body is
        parsed once.

        Raises:
            InvalidJson: the body is empty or not acceptable JSON.
            UnsupportedContentType: the content type is neither application/json nor application/*+json.
            RequestEntityTooLarge: the body is longer than `MAX_CONTENT_LENGTH`.
        """
        if not self._json_is_parsed:
            data = self.get_data()
            if silent and not data:
                return None
            if not self.is_json:
                raise UnsupportedContentType
            self._json = loads(data)
            self._json_is_parsed = True
        return self._json
