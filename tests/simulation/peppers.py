from typing import Final

from keyledger.verification.peppers import Peppers

PEPPERS: Final = Peppers([b"the master of the simulation, 32"])
