"""``python -m infra.contracts check|release``: hold ``schemas/`` against what was released, or make it the released."""

import shutil
import sys

from infra.contracts.released import CONTRACTS, RELEASED, SCHEMAS, breaks


def main() -> int:
    """Print every break and return 1 if there is one; ``release`` copies the contracts only where there is none."""
    if sys.argv[1:] not in (["check"], ["release"]):
        sys.stderr.write("say check or release\n")
        return 2
    found = list(breaks(RELEASED, SCHEMAS))
    sys.stdout.writelines(f"breaks what was released: {line}\n" for line in found)
    if found:
        return 1
    if sys.argv[1] == "release":
        for name in CONTRACTS:
            if (SCHEMAS / name).is_dir():
                shutil.copytree(SCHEMAS / name, RELEASED / name, dirs_exist_ok=True)
            else:
                shutil.copy2(SCHEMAS / name, RELEASED / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
