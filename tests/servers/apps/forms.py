"""Forms, cookies, redirects, tokens and slow answers, as a small Starlette application has them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
# How often each path has been asked.
asked: Counter[str] = Counter()


async def upload(request: Request) -> Response:
    """Repeat what the form holds, in its order; files by size and digest."""
    parts: list[dict[str, object]] = []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                digest = hashlib.sha256()
                while piece := await value.read(1 << 20):
                    digest.update(piece)
                found = {"file": value.filename, "type": value.content_type, "size": value.size}
                parts.append({"name": name, **found, "sha256": digest.hexdigest()})
            else:
                parts.append({"name": name, "value": value})
    return JSONResponse({"method": request.method, "parts": parts})


async def busy(request: Request) -> Response:
    """Answer 503 to the first request for a path, once its body has been read."""
    asked[request.url.path] += 1
    if asked[request.url.path] == 1:
        await request.body()
        return PlainTextResponse("later", 503)
    return await upload(request)


async def moved(request: Request) -> Response:
    await request.body()
    return RedirectResponse(request.query_params["to"], request.path_params["code"])


async def again(request: Request) -> Response:
    return RedirectResponse("/again", 302)


async def echo(request: Request) -> Response:
    """Repeat the request."""
    body = (await request.body()).decode()
    fields = {name: request.headers.get(name, "") for name in ("content-type", "authorization", "cookie")}
    found = {"method": request.method, "body": body, "query": request.url.query, **fields}
    return JSONResponse(found, headers={"X-Asked": request.method})


async def slow(request: Request) -> Response:
    """Wait before the answer, and between its parts."""
    before, between = (float(request.query_params.get(name, 0)) for name in ("before", "between"))
    await asyncio.sleep(before)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 100
            await asyncio.sleep(between)

    return StreamingResponse(parts(), headers={"Content-Length": "1000"})


async def guarded(request: Request) -> Response:
    """Take each token three times."""
    token = request.headers.get("authorization", "")
    asked[token] += 1
    if token != f"Bearer t{asked['/token']}" or asked[token] > 3:
        return PlainTextResponse("expired", 401, {"WWW-Authenticate": "Bearer"})
    return PlainTextResponse("the file")


async def token(request: Request) -> Response:
    asked["/token"] += 1
    return PlainTextResponse(f"t{asked['/token']}")


async def login(request: Request) -> Response:
    """Set cookies of each kind, and one more for each visit."""
    response = PlainTextResponse("welcome")
    response.set_cookie("session", 'a "quoted, value"', httponly=True)
    response.set_cookie("lasting", "yes", max_age=3600, path="/private")
    response.set_cookie("elsewhere", "no", domain="other.example")
    response.set_cookie("visits", str(int(request.cookies.get("visits", 0)) + 1), max_age=3600)
    return response


async def logout(request: Request) -> Response:
    response = PlainTextResponse("bye")
    response.delete_cookie("session")
    return response


async def private(request: Request) -> Response:
    return JSONResponse(request.cookies, 200 if "session" in request.cookies else 403)


application = Starlette(
    routes=[
        Route("/up", upload, methods=ANY),
        Route("/busy/{name}", busy, methods=ANY),
        Route("/moved/{code:int}", moved, methods=ANY),
        Route("/again", again),
        Route("/echo", echo, methods=ANY),
        Route("/slow", slow),
        Route("/guarded/{name}", guarded),
        Route("/token", token, methods=["POST"]),
        Route("/login", login),
        Route("/logout", logout),
        Route("/private", private),
    ]
)
