"""Who may talk to the studio. It stands before everything else, on HTTP and websocket alike.

The studio listens on 127.0.0.1 alone, has no accounts, and holds people's faces. What it fears, and what it does:

* **Another web page in the same browser.** A page on any site can make the browser send requests to the loopback. They
  carry that page's Origin, which is refused; the cookie is SameSite=Strict, so they come without it; there is no CORS
  answer, so nothing could be read; Cross-Origin-Resource-Policy and frame-ancestors keep pictures and the page itself
  from being embedded. Pages of other programs on the loopback count as the *same site*, whatever their port, and so do
  get the cookie sent: for them there are Origin and Sec-Fetch-Site, which do tell ports apart.
* **DNS rebinding**, where a hostile name is made to point at 127.0.0.1 so that its pages share our origin: the Host
  must be 127.0.0.1 or localhost with our own port.
* **A secret that leaks.** The token is never in an address, which ends up in histories, screenshots, shared links and
  the list of processes. It is made at each start and set as an HttpOnly cookie when the page itself is loaded, and only
  on a top-level navigation that the person began (typed, bookmarked, opened by us) or that came from the page. A link
  on another site gets a page that asks for one click more.
* **Other people on this machine.** They can reach the loopback too. On Linux the cookie is given only to programs of
  the user who runs the studio (see `peers`), and without it there is nothing but the empty page. Elsewhere the system
  does not tell, and another account on the same machine could open the studio while it runs.
* **Programs of the same user** can read the data folder anyway; there is nothing to defend.

Cookies do not tell ports apart, so the port is part of the cookie's name: two studios do not log each other out.
"""

from __future__ import annotations

import asyncio
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceloom.server.peers import is_own_user
from faceloom.server.refusals import Refusal

MOST_BODY = 1_000_000
"""Bytes that a request may send, uploads aside."""
UPLOADS = frozenset({"/api/photos", "/api/styles", "/api/models/import"})
BODY_SECONDS = 30.0

_CSP = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), payment=()",
}


class Guard:
    """ASGI middleware that refuses strangers and adds the headers.

    Attributes:
        token: what the cookie must hold; new at each start.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.token = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = _with_headers(scope, send)
        try:
            self._check(scope)
            if scope["type"] == "http" and scope["path"] not in UPLOADS:
                receive = await _read_body(scope, receive)
        except Refusal as refusal:
            if scope["type"] == "websocket":  # which the server answers 403; a page could not read more anyway
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
            else:
                await refusal.response()(scope, receive, answer)
            return
        await self.app(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        headers, port = Headers(scope=scope), scope["server"][1]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in _own_hosts(port):
            raise Refusal(400, "wrong_host", f"the studio answers only at http://127.0.0.1:{port}/")
        origins = headers.getlist("origin")
        if origins and origins != [f"http://{hosts[0].lower()}"]:
            raise Refusal(403, "forbidden", "another page may not use the studio; open the studio's own page")
        if scope["type"] == "http" and not scope["path"].startswith("/api"):
            return
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, "forbidden", "another page may not use the studio; open the studio's own page")
        if not self._knows_token(headers, port):
            raise Refusal(403, "forbidden", f"the studio was started anew; load http://{hosts[0]}/ again")

    def _knows_token(self, headers: Headers, port: int) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            for line in headers.getlist("cookie"):
                cookies.load(line)
        except CookieError:
            return False
        found = cookies.get(cookie_name(port))
        return found is not None and secrets.compare_digest(found.value.encode(), self.token.encode())

    def invite(self, scope: Scope) -> str | None:
        """The Set-Cookie header for someone who loads the page; None if the page must be asked for by a click.

        Raises:
            Refusal: 403 if it is someone else's program.
        """
        headers, server = Headers(scope=scope), scope["server"]
        if not is_own_user((scope["client"][0], scope["client"][1]), (server[0], server[1])):
            raise Refusal(403, "forbidden", "this studio belongs to another user of this machine; start your own")
        # Browsers without these headers (before 2023) are let in: Host, Origin and SameSite hold for them too.
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin"):
            return None
        # "empty" from the page itself: it asks anew for the cookie after the studio was started again.
        known = ("document", "empty") if site == "same-origin" else ("document",)
        if headers.get("sec-fetch-dest", "document") not in known:
            return None
        return f"{cookie_name(server[1])}={self.token}; HttpOnly; SameSite=Strict; Path=/"


def cookie_name(port: int) -> str:
    """The name of the cookie of a studio on this port."""
    return f"faceloom-{port}"


def _own_hosts(port: int) -> set[str]:
    names = {"127.0.0.1", "localhost"}
    return {f"{name}:{port}" for name in names} | (names if port == 80 else set())


def _with_headers(scope: Scope, send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return answer


async def _read_body(scope: Scope, receive: Receive) -> Receive:
    """Read a small body whole, before anything parses it.

    Raises:
        Refusal: 413 if it is too large, 400 if it does not come.
    """
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdigit() and int(length) > MOST_BODY:
        raise _too_large()
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "broken_off", "the request broke off; send it again")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Refusal(400, "broken_off", "the request did not come to its end; send it again") from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


def _too_large() -> Refusal:
    return Refusal(413, "too_large", f"a request holds at most {MOST_BODY:,} bytes, photos and models aside")
