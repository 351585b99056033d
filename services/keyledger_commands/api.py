"""The application of this service: the routes of keys, of roles, and of those who own them."""

from fastapi import FastAPI

from keyledger.contracts.ports import Clock, Randomness
from keyledger.eventstore.port import Ledger
from keyledger.verification.peppers import Peppers
from keyledger.web.app import create_app
from keyledger.web.cursors import Cursors
from keyledger.web.positions import position_tokens
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.issuing import Issuer
from keyledger_commands.keys_api import KeysApi
from keyledger_commands.people_api import PeopleApi
from keyledger_commands.roles_api import RolesApi
from keyledger_commands.routing import Routes
from keyledger_commands.streams import Streams
from keyledger_commands.writing import InForce, Writes, at_once


def create_api(
    ledger: Ledger,
    streams: Streams,
    authentication: LedgerAuthentication,
    *,
    peppers: Peppers,
    clock: Clock,
    randomness: Randomness,
    in_force: InForce = at_once,
) -> FastAPI:
    """Return the application with this service's routes."""
    app = create_app("Keyledger commands", randomness=randomness)
    writes = Writes(ledger, streams, randomness, in_force=in_force)
    positions = position_tokens(ledger.store_id, peppers)
    routes = Routes(app, authentication)
    issuer = Issuer(peppers, randomness)
    keys = KeysApi(
        writes,
        issuer=issuer,
        positions=positions,
        clock=clock,
        randomness=randomness,
    )
    people = PeopleApi(ledger, streams, writes, positions=positions, randomness=randomness)
    cursors = Cursors(peppers.derived("keyledger commands cursors"))
    roles = RolesApi(ledger, streams, writes, positions=positions, cursors=cursors)
    keys.add_to(routes)
    roles.add_to(routes)
    people.add_to(routes)
    return app
