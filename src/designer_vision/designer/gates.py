"""Who may come in: browsers of this machine that were given the token, on pages of this server alone."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**20
"""Of a request's body."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""A report is a file of somebody's folder: it may look as it likes, and do nothing."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gates:
    """Refuses requests before anything looks at them.

    A page elsewhere can have a browser send requests here, or give our address another name; but it does not know the token, and
    cannot have our Host or Origin sent. The token comes once, in the address that the terminal prints, and stays in a cookie that
    no other site's request carries.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"designer_vision_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        has_begun = False

        async def noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, _with_headers(noticed))
        except Exception:  # a fault of ours: the terminal shows where, and the page is answered as ever
            if not has_begun:
                await _error(500, "this is a fault of the designer; the terminal shows where")(
                    scope, receive, _with_headers(send)
                )
            raise

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            return _error(403, "this is not the address that the server listens on; open the one that the terminal printed")
        if (given := self._given(scope)) is not None:
            if not hmac.compare_digest(given, self._token):
                return _error(403, "the address has another server's token; open the one that the terminal printed")
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return answer
        if not hmac.compare_digest(self._cookie_of(headers), self._token):
            return _error(401, "open the address that the terminal printed: it has the token that lets you in")
        if scope["method"] not in ("GET", "HEAD"):
            return _refusal_of_change(headers, host)
        return None

    @staticmethod
    def _given(scope: Scope) -> str | None:
        """The token in the address, on the page's own path alone."""
        if scope["path"] != "/" or scope["method"] != "GET":
            return None
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return tokens[0].encode("ascii", "replace").decode() if tokens else None

    def _cookie_of(self, headers: Mapping[str, str]) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookie[self._cookie].value.encode("ascii", "replace").decode() if self._cookie in cookie else ""


def _refusal_of_change(headers: Mapping[str, str], host: str) -> Response | None:
    """Why a request may change nothing; None where it may."""
    if headers.get("origin") != f"http://{host}":
        return _error(403, "only this server's own page may change something")
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return _error(415, "expected JSON")
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return _error(413, f"a request has at most {MOST_BYTES:,} bytes, and says how many")
    return None


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Content-Security-Policy", PAGE_POLICY)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return wrapped
