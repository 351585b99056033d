import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

MODULES = sorted(
    f"keyledger.verification.{path.stem}"
    for path in Path(str(find_spec("keyledger.verification").submodule_search_locations[0])).glob("[a-z]*.py")  # type: ignore[union-attr, index]
)
SERVER_ONLY = (
    "fastapi pydantic starlette aiokafka asyncpg faust sqlalchemy structlog prometheus_client uuid_utils uvicorn"
)


def test_the_library_needs_nothing_of_the_server() -> None:
    assert len(MODULES) > 10
    program = f"import sys, {', '.join(MODULES)}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(ran.stdout.split()) & set(SERVER_ONLY.split())
