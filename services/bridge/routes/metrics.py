"""What the routes count."""

from prometheus_client import CollectorRegistry, Counter


def reload_failures(registry: CollectorRegistry) -> Counter:
    return Counter(
        "cctelegram_routes_reload_failures",
        "Changed routes that could not be taken; the former ones stay in force",
        registry=registry,
    )
