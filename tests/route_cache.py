"""Builds the routes of each kind of application once, instead of for each test.

FastAPI builds validators and dependencies of every route when an application starts. They depend on the
route and on how its router is included, and are the same in each application; to build them took a third of
the tests' time.
"""

from typing import Any

from fastapi import routing

#: By the prefix and the ids of the parts that decide it: the built route, and the parts.
_built: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}


def install() -> None:
    """Replaces FastAPI's function that builds a route of an included router."""
    build = routing._EffectiveRouteContext.from_api_route

    def built_once(*, original_route: Any, include_context: Any) -> Any:
        if "<locals>" in original_route.endpoint.__qualname__:
            # Each application makes this route for itself.
            return build(original_route=original_route, include_context=include_context)
        parts = (
            original_route,
            include_context.included_router,
            *(each.dependency for each in include_context.dependencies),
        )
        key = (include_context.prefix, *map(id, parts))
        if key not in _built:
            made = build(original_route=original_route, include_context=include_context)
            _built[key] = (made, parts)  # the parts stay, so that no other object gets the id of one
        return _built[key][0]

    routing._EffectiveRouteContext.from_api_route = built_once  # type: ignore[method-assign]
