from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keyledger.projections.port import ReadModel
from keyledger.testing.memory_read_model import MemoryReadModel
from keyledger.testing.read_model_suite import Open, ReadModelSuite


class TestMemoryReadModel(ReadModelSuite):
    @pytest.fixture
    def open_model(self) -> Open:
        model: MemoryReadModel[str] = MemoryReadModel()

        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[str]]:
            yield model

        return open_model

    def example(self, number: int) -> str:
        return f"row {number}"
