"""Paths that end in a slash: served as without it, since a redirect breaks what clients send."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractMatchInfo
from aiohttp.web_urldispatcher import AbstractResource, AbstractRoute, UrlDispatcher
from yarl import URL


class TrailingSlash(AbstractResource):
    """The last resource of a router: gives `/path/` to the route of `/path`.

    What is routed is the other resource, so that access, metrics and handlers see one route.
    """

    def __init__(self, router: UrlDispatcher) -> None:
        super().__init__()
        self._router = router

    @property
    def canonical(self) -> str:
        """Return the pattern, which matches every path."""
        return "/{path}/"

    async def resolve(self, request: web.Request) -> tuple[Any, set[str]]:
        """Return the match of the path without its slash, or the methods that it has."""
        path = request.rel_url.raw_path
        if not path.endswith("/") or path == "/":
            return None, set()
        url = request.rel_url.with_path(path.rstrip("/") or "/", encoded=True)
        match: AbstractMatchInfo = await self._router.resolve(request.clone(rel_url=url))
        if match.http_exception is None:
            return match, set()
        return None, getattr(match.http_exception, "allowed_methods", set())

    def url_for(self, **parts: str) -> URL:
        """Return the URL of a path."""
        return URL.build(path=f"/{parts['path']}/")

    def add_prefix(self, prefix: str) -> None:
        """Refuse: this belongs to no other application."""
        raise NotImplementedError

    def get_info(self) -> Any:
        """Return what there is to tell of the pattern."""
        return {"formatter": self.canonical}

    def raw_match(self, path: str) -> bool:
        """Tell that no further route goes here."""
        return path == self.canonical

    def __iter__(self) -> Iterator[AbstractRoute]:
        return iter(())

    def __len__(self) -> int:
        return 0
