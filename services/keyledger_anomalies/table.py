"""The Faust table as the fold sees it: text keys, values that are there or not."""

from collections.abc import Iterator, MutableMapping
from typing import Any


class TableEntries(MutableMapping[str, bytes]):
    """What a Faust table of raw bytes holds in memory. What changes here is sent by ``changelog.py``, not by Faust."""

    def __init__(self, table: Any) -> None:
        self._entries: MutableMapping[bytes, bytes] = table.data

    def __getitem__(self, key: str) -> bytes:
        return self._entries[key.encode()]

    def __setitem__(self, key: str, entry: bytes) -> None:
        self._entries[key.encode()] = entry

    def __delitem__(self, key: str) -> None:
        del self._entries[key.encode()]

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
