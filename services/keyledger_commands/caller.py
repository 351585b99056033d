"""Who sends a request: presumed from what was read a moment ago, proven by the ledger before anything is answered."""

from fastapi import Request

from keyledger.contracts.verdict import Code
from keyledger.eventstore.port import LedgerUnavailable, OutcomeUnknown
from keyledger.web.credentials import bearer_token
from keyledger.web.principal import Principal, insufficient, refused
from keyledger.web.problems import Problem
from keyledger_commands.authentication import Judgement, LedgerAuthentication


class Caller:
    """The caller of one request that needs a permission. Each request is recorded as one attempt, once it is judged.

    A write needs no question: the ledger accepts an append only while each version still holds that the caller's right
    was judged on, and that is the proof. Whatever else is answered, the ledger is asked first (``prove``, ``settle``).
    """

    def __init__(self, authentication: LedgerAuthentication, request: Request, permission: str) -> None:
        self._authentication, self._request, self._permission = authentication, request, permission
        self.source = authentication.source(request)
        """The address that the request came from."""
        self._judged: Judgement | None = None
        self._recorded: Code | None = None
        self.proven = False
        """Whether the ledger has confirmed what the caller was judged on, or has refused them."""

    @property
    def principal(self) -> Principal:
        """The caller, as it was judged last."""
        if self._judged is None or self._judged.principal is None:
            raise TypeError("this request was not authenticated")
        return self._judged.principal

    async def presume(self) -> None:
        """Judge the caller by what was read a moment ago; who would be refused by that is judged by the ledger.

        Raises:
            Problem, LedgerUnavailable: as ``prove``.
        """
        presumed = await self._authentication.presume(self._token(), self._permission)
        if presumed.principal is None:
            await self.prove()
        else:
            self._judged = presumed

    async def prove(self) -> None:
        """Judge the caller by the ledger as it is now. It is recorded again only if it comes to something else now.

        Raises:
            Problem: 400 for two credentials; 401 as ``missing-credential`` or ``invalid-credential``, and to the holder
                of a right secret ``expired`` or ``revoked``; 403 ``insufficient-permission``.
            LedgerUnavailable
        """
        self._judged = None  # whatever was presumed is in doubt
        judged = await self._authentication.judge(self._token(), self._permission)
        if judged.code != self._recorded:
            self._record(judged)
        self._judged, self.proven = judged, True
        if judged.code == "insufficient-permission":
            raise insufficient(self._permission)
        if judged.principal is None:
            raise refused(judged.code)

    def proven_by_append(self) -> None:
        """The ledger has accepted an append under all that the caller's right rests on."""
        if not self.proven:
            self._record_presumed()
            self.proven = True

    async def settle(self, failure: Exception) -> None:
        """Return if the caller may be told this failure.

        Raises:
            Problem: the caller is refused, and learns nothing of what else is wrong.
        """
        if self.proven:
            return
        if isinstance(failure, LedgerUnavailable | OutcomeUnknown):  # the ledger cannot be asked: nothing better is had
            self._record_presumed()
        else:
            await self.prove()

    def _record_presumed(self) -> None:
        if self._judged is not None:
            self._record(self._judged)

    def _record(self, judged: Judgement) -> None:
        self._recorded = judged.code
        request_id = self._request.scope.get("keyledger.request_id")
        self._authentication.record(judged, self._permission, source=self.source, request_id=request_id)

    def _token(self) -> str | None:
        try:
            return bearer_token(self._request)
        except Problem:  # two credentials are a mistake like none: neither is tried
            self._record(Judgement(code="missing-credential"))
            self.proven = True
            raise


def caller_of(request: Request) -> Caller:
    """Return the caller that the route has authenticated."""
    caller = request.state.caller
    if not isinstance(caller, Caller):
        raise TypeError("this route does not authenticate")
    return caller
