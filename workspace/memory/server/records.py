"""Points as they are read, in the order of their ids or in the opposite one, which the server has not."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient, models

from workspace.memory import payload as fields
from workspace.memory.first_pages import newest_page
from workspace.memory.memories import Filter
from workspace.memory.server.collections import Collections
from workspace.memory.server.filters import condition, equals, must
from workspace.memory.store import MOST_AT_ONCE
from workspace.names import Collection


class Records:
    """Reads points."""

    def __init__(self, client: QdrantClient, collections: Collections) -> None:
        self._client = client
        self._collections = collections

    def newest(self, collection: Collection, where: Filter, limit: int, after: UUID | None) -> list[models.Record]:
        """Return records in the opposite order of their ids, from `after` on."""
        ids = newest_page(
            limit,
            after,
            latest=lambda before, number: self._latest(collection, where, before, number),
            same_time=lambda moment: list(self._ids_at(collection, where, moment)),
        )
        if not ids:
            return []
        wanted = [str(id_) for id_ in ids]
        records = self._collections.asked(collection, [], self._client.retrieve, ids=wanted, with_payload=True)
        found = {UUID(str(record.id)): record for record in records}
        return [found[id_] for id_ in ids if id_ in found]

    def _latest(self, collection: Collection, where: Filter, before: int | None, number: int) -> list[tuple[int, UUID]]:
        records, _ = self._collections.asked(
            collection,
            ([], None),
            self._client.scroll,
            scroll_filter=condition(where, before=before),
            limit=number,
            order_by=models.OrderBy(key=fields.CREATED_AT, direction=models.Direction.DESC),
            with_payload=[fields.CREATED_AT],
        )
        return [(record.payload[fields.CREATED_AT], UUID(str(record.id))) for record in records]

    def _ids_at(self, collection: Collection, where: Filter, moment: int) -> Iterator[UUID]:
        """Yield the ids of all that was made in one millisecond."""
        made_then = models.Filter(must=[*must(where), equals(fields.CREATED_AT, moment)])
        after: UUID | None = None
        while records := self.scroll(collection, MOST_AT_ONCE, after, scroll_filter=made_then, with_payload=False):
            yield from (UUID(str(record.id)) for record in records)
            after = UUID(str(records[-1].id))

    def scroll(self, collection: Collection, limit: int, after: UUID | None, **options: Any) -> list[models.Record]:
        """Return records in the order of their ids."""
        offset = str(UUID(int=after.int + 1)) if after is not None else None
        found = self._collections.asked(
            collection,
            ([], None),
            self._client.scroll,
            **{"offset": offset, "limit": limit, "with_payload": True, **options},
        )
        records: list[models.Record] = found[0]
        return records
