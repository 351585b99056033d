"""The Faust table as the fold sees it: text keys, values that are there or not."""

from collections.abc import Iterator, Mapping
from typing import Any


class TableEntries(Mapping[str, bytes]):
    """A read-only view of a Faust table whose keys and values are raw bytes."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getitem__(self, key: str) -> bytes:
        found = self._table.get(key.encode())
        if found is None:
            raise KeyError(key)
        return bytes(found)

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in list(self._table))

    def __len__(self) -> int:
        return len(self._table)
