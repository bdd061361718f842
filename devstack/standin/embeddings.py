"""Embeddings without a model: equal texts are equal, similar wording is near, and nothing else is claimed.

Words and their character n-grams are hashed into the dimensions (the hashing trick) and the sum is normalised.
"""

import base64
import math
import re
import zlib
from array import array
from collections import Counter
from typing import Any

from devstack.standin.conversation import BadRequestError

DEFAULT_DIMENSIONS = 1536
MAXIMUM_DIMENSIONS = 4096
NGRAM_LENGTHS = (3, 4)
NGRAM_WEIGHT = 0.25
"""An n-gram counts less than a word: it is there for inflections and typing errors."""

WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int) -> list[float]:
    """The vector of a text, of length 1 unless the text has no word."""
    vector = [0.0] * dimensions
    for word, count in Counter(WORD.findall(text.casefold())).items():
        weight = 1 + math.log(count)
        _add(vector, word, weight)
        padded = f"<{word}>"
        for length in NGRAM_LENGTHS:
            for start in range(len(padded) - length + 1):
                _add(vector, padded[start : start + length], weight * NGRAM_WEIGHT)
    norm = math.sqrt(sum(value * value for value in vector))
    return [value / norm for value in vector] if norm else vector


def _add(vector: list[float], feature: str, weight: float) -> None:
    # One hash chooses the dimension, one more bit of it the sign, so that collisions cancel out on average.
    hashed = zlib.crc32(feature.encode())
    vector[(hashed >> 1) % len(vector)] += weight if hashed & 1 else -weight


def response(body: Any) -> dict[str, Any]:
    """Answer a request for embeddings.

    Raises:
        BadRequestError: it is none.
    """
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    texts = texts_of(body.get("input"))
    dimensions = body.get("dimensions") or DEFAULT_DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAXIMUM_DIMENSIONS:
        raise BadRequestError(f"'dimensions' must be a number from 1 to {MAXIMUM_DIMENSIONS}")
    as_text = body.get("encoding_format") == "base64"
    vectors = (embed(text, dimensions) for text in texts)
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(len(text.split()) for text in texts)
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": used}


def texts_of(given: Any) -> list[str]:
    """The texts to embed; lists of token numbers stand for the text of their numbers."""
    many = given if isinstance(given, list) and not all(isinstance(each, int) for each in given) else [given]
    texts = [" ".join(map(str, each)) if isinstance(each, list) else each for each in many]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadRequestError("'input' must be a non-empty text or a list of them")
    return texts


def _base64(vector: list[float]) -> str:
    packed = array("f", vector)
    return base64.b64encode(packed.tobytes()).decode()
