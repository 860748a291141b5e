"""Access to the server: who may ask, from which page, and what a browser may do with an answer.

A page on another port of the same machine shares cookies with ours, so a cookie alone is no proof:
the names of Host and Origin are held against a list, and a request that changes something carries a
header that no foreign page can send without being asked (CORS is never granted).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

COOKIE = "lvseg"
#: Header of every request that changes something, and its value.
OWN_HEADER, OWN_VALUE = "x-lvseg", "1"
#: Larger bodies are refused unread, bytes.
LARGEST_BODY = 1_000_000
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one server.

    :param hosts: values of the Host header that are ours, with the port.
    :param origins: of our pages, e.g. ``http://127.0.0.1:8765``.
    :param user_header: header of a proxy that names who is logged in; "" = there is none.
    :param read_only: nothing may be changed.
    :param token: of this run; who knows it may come in.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    user_header: str = ""
    read_only: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def who(self, request: Request) -> str:
        """The name of the person: as the proxy gives it, else "local"."""
        if not self.user_header:
            return "local"
        return request.headers.get(self.user_header, "")[:63].strip()

    async def guard(self, request: Request, call_next: _Next) -> Response:
        """Answer a request, or say why not; every answer carries :data:`_HEADERS`."""
        response = self._refusal(request)
        if response is None and request.url.path == "/open":
            response = self._opened(request)
        if response is None:
            response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host", "") not in self.hosts:
            return _no(421, "expected the name of this server")
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.origins:
            return _no(403, "expected a page of this server")
        if request.url.path == "/open":
            return None
        if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.token.encode()):
            return _no(401, "expected to be let in: open the address that lvseg serve printed")
        if self.user_header and not self.who(request):
            return _no(401, "expected the name of a person from the proxy")
        if request.method in _SAFE_METHODS:
            return None
        if request.headers.get(OWN_HEADER) != OWN_VALUE:
            return _no(403, f"expected the header {OWN_HEADER}")
        if self.read_only:
            return _no(403, "this server is read only")
        length = request.headers.get("content-length", "0")
        chunked = "transfer-encoding" in request.headers
        if chunked or not length.isdecimal() or int(length) > LARGEST_BODY:
            return _no(413, f"expected at most {LARGEST_BODY} bytes")
        return None

    def _opened(self, request: Request) -> Response:
        """The token of the address becomes a cookie, and leaves the address."""
        given = request.query_params.get("token", "")
        if request.method != "GET" or not hmac.compare_digest(given.encode(), self.token.encode()):
            return _no(401, "expected the address that lvseg serve printed")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, self.token, httponly=True, samesite="strict", path="/",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer


def _no(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)
