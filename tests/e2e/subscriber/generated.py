"""Makes the subscriber from an AsyncAPI document, in a folder of its own, and runs it there."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GENERATOR = Path(sys.executable).parent / "datamodel-codegen"
RUNTIME = Path(__file__).parent / "subscriber.py"
DEADLINE_SECONDS = 240


@dataclass(frozen=True)
class Heard:
    """What a run of the subscriber has printed."""

    decoded: list[dict[str, Any]]
    drifted: list[dict[str, Any]]
    keyledger_modules: list[str]


class Subscriber:
    """A generated subscriber: the document, its models and the runtime stand alone in ``folder``."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self._folder = folder
        (folder / "asyncapi.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        shutil.copy2(RUNTIME, folder)
        generate = ["--input", "asyncapi.yaml", "--input-file-type", "asyncapi", "--output", "models.py"]
        model = ["--output-model-type", "pydantic_v2.BaseModel", "--target-python-version", "3.11"]
        formatters = ["--formatters", "builtin", "--disable-timestamp"]
        self._run(str(GENERATOR), *generate, *model, *formatters)

    def listen(self, bootstrap: str) -> Heard:
        """Read every channel from its beginning to its end."""
        # -I: no path of this repository, and no setting of this process, reaches it.
        command = ["-I", "subscriber.py", "asyncapi.yaml", "models.py", "plain", f"bootstrap={bootstrap}"]
        *records, last = map(json.loads, self._run(sys.executable, *command).splitlines())
        return Heard(
            [record for record in records if "drift" not in record],
            [record for record in records if "drift" in record],
            last["keyledger_modules"],
        )

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
