"""What an approval is bound to: a digest of a tool's name and its exact arguments.

Two calls have the same digest if and only if they are the same in terms of JSON: the order of an object's members does
not matter, everything else does. `1`, `1.0` and `true` are three values, and text is not normalised.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a tool's name and its arguments.

    The name comes first, as a JSON string: where it ends is never in doubt.

    Raises:
        ValueError: the arguments are not JSON.
    """
    return hashlib.sha256(canonical([tool, arguments]).encode("utf-8", "surrogatepass")).hexdigest()


def canonical(value: Any) -> str:
    """Return a value as JSON that is written in one way only.

    Raises:
        ValueError: the value is not JSON, or nested too deeply.
    """
    try:
        # Characters are written as they are: escaped, two lone surrogates would look like the one that they spell.
        return json.dumps(_checked(value), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error


def _checked(value: Any) -> Any:
    """Refuse keys that are no text: the encoder would make text of them, and two objects would look the same."""
    match value:
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError
            return {key: _checked(each) for key, each in value.items()}
        case list() | tuple():
            return [_checked(each) for each in value]
        case _:
            return value
