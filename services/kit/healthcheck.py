"""The health check of a container: requests one URL.

``python -m services.kit.healthcheck URL``: exit code 0 when the answer is 2xx. It imports the standard
library alone, since it starts every few seconds.
"""

import sys
import urllib.error
import urllib.request


def failure(url: str, timeout: float = 3.0) -> str:
    """Why the URL did not answer 2xx within the timeout (seconds); empty when it did."""
    try:
        with urllib.request.urlopen(url, timeout=timeout):  # noqa: S310 - a URL from compose.yaml
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(2000).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(failure(sys.argv[1]) or 0)
