"""Asks one address whether it is well: the container's health check, where there is no curl.

``python -m services.kit.healthcheck URL``: exit code 0 when it answers 2xx. Standard library only,
for it starts every few seconds.
"""

import sys
import urllib.error
import urllib.request


def answers(url: str, timeout: float = 3.0) -> str:
    """Empty when the address answers 2xx in time, else what happened instead."""
    try:
        with urllib.request.urlopen(url, timeout=timeout):  # noqa: S310 - our own address, from compose.yaml
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(2000).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(answers(sys.argv[1]) or 0)
