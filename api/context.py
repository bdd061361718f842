"""`agents/{id}/context/`: what an agent remembers, for its owner to read, to add to and to forget."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from flask import Response, current_app, request

from api.http import Resource, account, key, no_content, web, workspace
from api.memory_files import exported, restore
from api.repeats import named_repeat
from api.schemas.common import Listing
from api.schemas.context import (
    AddedResponse,
    ForgetQuery,
    ForgottenResponse,
    FoundResponse,
    MemoryQuery,
    MemoryResponse,
    MemorySearch,
    MemoryStatsResponse,
    NewMemories,
    PrunedResponse,
    PruneRequest,
    RestoredResponse,
    SearchResponse,
)
from api.streaming import NDJSON, bound_writes, bounded_reads
from api.strict_json import UnsupportedContentType
from api.turns import Turns
from workspace.errors import InvalidInput, NotFound
from workspace.memory.door import MemoryDoor
from workspace.memory.ids import memory_id, milliseconds_of
from workspace.memory.memories import Memory, Provenance
from workspace.memory.repeats import Moment, RepeatedMemories
from workspace.memory.transfer import ExportedMemory

context = Resource("context")

EXPORTS: Final = "codelab-exports"
"""The app's extension that counts them: `Turns`."""
NO_BUDGET: Final = 10**9
"""Tokens. The limit that counts here is the number of memories; what fits into a prompt is an agent's concern."""


class MemoryListing(Listing[MemoryResponse]):
    """A part of an agent's memory."""


@context.on("GET", "/agents/<uuid:agent_id>/context/", answers=MemoryListing)
def list_memories(agent_id: UUID, query: MemoryQuery) -> MemoryListing:
    """List what an agent remembers, the newest first. To look for something: `context/search/`."""
    memory = _memory(agent_id)
    page = memory.page(where=query.filter(), limit=query.limit, after=query.after())
    items = [MemoryResponse.of(each) for each in page.items]
    cursor = str(page.next_cursor) if page.next_cursor is not None else None
    return MemoryListing(items=items, total=memory.count(query.filter()), next_cursor=cursor)


@context.on("POST", "/agents/<uuid:agent_id>/context/search/", answers=SearchResponse)
def search_memories(agent_id: UUID, json: MemorySearch) -> SearchResponse:
    """Find what is most like a query, the most like it first."""
    found = _memory(agent_id).search(
        json.query, where=json.filter(), limit=json.limit, min_score=json.min_score, token_budget=NO_BUDGET
    )
    return SearchResponse(items=[FoundResponse.of_found(each) for each in found])


@context.on("POST", "/agents/<uuid:agent_id>/context/", answers=AddedResponse, status=201)
def add_memories(agent_id: UUID, json: NewMemories) -> Response:
    """Let an agent remember something.

    With an `Idempotency-Key` header, sending it again makes the same memories and not more of them.
    """
    memory = _memory(agent_id)
    repeat = named_repeat(json.model_dump_json())
    moment, seed = Moment(datetime.now(UTC), replayed=False), uuid4().hex
    if repeat is not None:
        moment, seed = RepeatedMemories(web().redis).first(key(), agent_id, repeat, now=moment.at), repeat.key
    memories = _made(json, moment.at, seed)
    memory.remember(memories)
    answer = AddedResponse(items=[MemoryResponse.of(each) for each in memories])
    response = Response(answer.model_dump_json(), 201, mimetype="application/json")
    if moment.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@context.on("DELETE", "/agents/<uuid:agent_id>/context/", answers=ForgottenResponse)
def forget_memories(agent_id: UUID, query: ForgetQuery) -> ForgottenResponse:
    """Forget everything, or what comes from one session or one run."""
    if request.get_data():
        raise InvalidInput("What is to be forgotten is said in the query; a body is not read.")
    return ForgottenResponse(
        deleted=workspace().clear_context(agent_id, run_id=query.run_id, session_id=query.session_id)
    )


@context.on("DELETE", "/agents/<uuid:agent_id>/context/<uuid:memory_id>/", answers=None, status=204)
def forget_memory(agent_id: UUID, memory_id: UUID) -> Response:
    """Forget one memory. It is 204 as well if there is none any more."""
    memory = _memory(agent_id)
    try:
        milliseconds_of(memory_id)
    except ValueError as error:
        raise NotFound from error
    memory.forget([memory_id])
    return no_content()


@context.on("POST", "/agents/<uuid:agent_id>/context/prune/", answers=PrunedResponse)
def prune_memories(agent_id: UUID, json: PruneRequest) -> PrunedResponse:
    """Forget what is old, then the oldest of what is left beyond a number; or only say how much that would be."""
    pruned = _memory(agent_id).prune(older_than=json.older_than, keep=json.keep, dry_run=json.dry_run)
    return PrunedResponse.of(pruned, dry_run=json.dry_run)


@context.on("GET", "/agents/<uuid:agent_id>/context/stats/", answers=MemoryStatsResponse)
def memory_stats(agent_id: UUID) -> MemoryStatsResponse:
    """Read what an agent's memory holds."""
    return MemoryStatsResponse.of(_memory(agent_id).stats())


@context.on("GET", "/agents/<uuid:agent_id>/context/export/", answers=ExportedMemory)
def export_memories(agent_id: UUID) -> Response:
    """Read everything with its vectors, a line of JSON each, oldest first.

    If it cannot be read to its end, the last line is an `error` and the answer is broken off. Of one user only a few
    are read at once.
    """
    space = workspace()
    disposition = f'attachment; filename="{space.get_agent(agent_id).agent.name}-memory.ndjson"'
    lines = exported(space.get_agent_context_store(agent_id))
    bound_writes()
    # Its request's turn ends before its body begins, and a slow reader's lasts as long as he likes.
    exports: Turns = current_app.extensions[EXPORTS]
    owner = account().user_id
    exports.take(owner, within=0)
    answer = Response(lines, content_type=f"{NDJSON}; charset=utf-8", headers={"Content-Disposition": disposition})
    answer.call_on_close(lambda: exports.give_back(owner))
    return answer


@context.on("POST", "/agents/<uuid:agent_id>/context/import/", answers=RestoredResponse)
def import_memories(agent_id: UUID) -> RestoredResponse:
    """Keep the memories of an export, sent as `application/x-ndjson`. To send it twice is harmless.

    A line that is no memory ends it with 422, `line` and `stored`: what stands before that line is kept.
    """
    memory = _memory(agent_id)
    if request.mimetype != NDJSON:
        raise UnsupportedContentType(NDJSON)
    request.max_content_length = web().settings.max_import_bytes
    with bounded_reads():
        return RestoredResponse.of(restore(memory, request.stream))


def _memory(agent_id: UUID) -> MemoryDoor:
    """Return the memory of an agent of the project.

    Raises:
        NotFound: it has none with this id.
    """
    return workspace().get_agent_context_store(agent_id)


def _made(json: NewMemories, now: datetime, seed: str) -> list[Memory]:
    """Return memories in the order in which they were given, which their times keep: the last one is made now."""
    earlier = reversed(range(len(json.items)))
    return [
        Memory(
            id=memory_id(each.created_at or now - timedelta(milliseconds=before), "user", seed, str(number)),
            text=each.text,
            interaction_type=each.interaction_type,
            success=each.success,
            session_id=each.session_id,
            run_id=each.run_id,
            provenance=Provenance.USER,
        )
        for number, (each, before) in enumerate(zip(json.items, earlier, strict=True))
    ]
