"""The model's server asked with nothing in between: how late a first token is for the machine's sake alone."""

import asyncio
import time

from bench.client import BenchError, Line

FIRST = b"tok1"
"""The stand-in's tokens are numbered."""
END = b"[DONE]"


class Model:
    """Asks the stand-in and reads its stream, on a connection for each question."""

    def __init__(self, url: str) -> None:
        self._line = Line(url, "/v1/chat/completions", "")

    async def first_token(self, question: str) -> float:
        """Return the seconds until the first token of the answer came; the answer is read to its end.

        Raises:
            BenchError: there was no answer.
        """
        body = {"model": "stand-in", "stream": True, "messages": [{"role": "user", "content": question}]}
        reader, writer = await asyncio.open_connection(*self._line.address)
        try:
            started = time.perf_counter()
            writer.write(self._line.post(body))
            seen, first = b"", 0.0
            while END not in seen:
                part = await reader.read(65_536)
                if not part:
                    raise BenchError(f"the model did not answer: {seen[:500].decode()}")
                seen += part
                if not first and FIRST in seen:
                    first = time.perf_counter() - started
        finally:
            writer.close()
        return first
