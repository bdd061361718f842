"""The routes of the API, from the app itself: tables of tests are compared with them, so that none is forgotten."""

import re
from typing import NamedTuple

from flask import Flask

from api.isolation import ADMIN, PUBLIC, PUBLIC_ASSETS

_VARIABLE = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")


class Route(NamedTuple):
    """One method at one address."""

    method: str
    rule: str
    view: str

    def __str__(self) -> str:
        return f"{self.method} {self.path()}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the ids in the address, from left to right."""
        return tuple(_VARIABLE.findall(self.rule))

    def path(self, **values: str) -> str:
        """Return the address with ids filled in; those not given stay as `{name}`."""
        return _VARIABLE.sub(lambda match: values.get(match[1], f"{{{match[1]}}}"), self.rule)


def routes(app: Flask) -> list[Route]:
    """Return every route, without the methods that Flask adds by itself."""
    return sorted(
        Route(method, rule.rule, rule.endpoint.rpartition(".")[2])
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


def guarded(app: Flask) -> list[Route]:
    """Return the routes below `/my` that need a token."""
    return [
        route
        for route in routes(app)
        if route.rule.startswith("/my") and route.rule not in PUBLIC and not route.rule.startswith(PUBLIC_ASSETS)
    ]


def administrative(app: Flask) -> list[Route]:
    """Return the routes below `/admin`."""
    return [route for route in routes(app) if route.rule == ADMIN or route.rule.startswith(f"{ADMIN}/")]
