"""``python -m keyledger_standalone.schemas FOLDER``: write ``schemas/`` from the code."""

import sys
from pathlib import Path

from keyledger.contracts.exporting import event_samples, event_schemas, write


def main() -> int:
    """Write what differs and name it; exit code 1 where a form that was written before would change."""
    folder = Path(sys.argv[1])
    try:
        written = write(folder, event_schemas(), replace=True) + write(folder, event_samples(), replace=False)
    except FileExistsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"wrote {folder / path}\n" for path in written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
