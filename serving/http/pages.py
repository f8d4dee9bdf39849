"""What people see: the page at `/`, and `/docs`. Nothing comes from another host."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_PAGE = Path(__file__).parents[1] / "page"
_SWAGGER_UI = str(files("fastapi_offline") / "static")

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_pages(app: FastAPI) -> None:
    """Add `/`, `/docs`, and the files that they need."""
    app.mount("/page/swagger-ui", StaticFiles(directory=_SWAGGER_UI))
    app.mount("/page", StaticFiles(directory=_PAGE))

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(_PAGE / "index.html", headers=_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(_PAGE / "docs.html", headers=_HEADERS)
