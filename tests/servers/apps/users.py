"""A small JSON service behind a bearer token: users that are read, created and deleted."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "Bearer s3cret"


def allowed(request: Request) -> bool:
    return request.headers.get("authorization") == TOKEN


def refused() -> Response:
    return JSONResponse({"error": "a token is wanted"}, 401, {"WWW-Authenticate": "Bearer"})


async def read(request: Request) -> Response:
    if not allowed(request):
        return refused()
    return JSONResponse({"id": request.path_params["number"], "asked": dict(request.query_params)})


async def delete(request: Request) -> Response:
    if not allowed(request):
        return refused()
    if request.path_params["number"] == 8:
        return Response(status_code=204)
    return JSONResponse({"deleted": request.path_params["number"]})


async def create(request: Request) -> Response:
    if not allowed(request):
        return refused()
    return JSONResponse({"created": await request.json(), "type": request.headers["content-type"]}, 201)


application = Starlette(
    routes=[
        Route("/api/users/{number:int}", read, methods=["GET"]),
        Route("/api/users/{number:int}", delete, methods=["DELETE"]),
        Route("/api/users", create, methods=["POST"]),
    ]
)
