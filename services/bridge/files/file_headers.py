"""Headers of a response with a file of somebody else, which a browser saves instead of showing it. Pure."""

from urllib.parse import quote


def saving_headers(filename: str, size: int | None) -> dict[str, str]:
    """The headers of a file.

    Args:
        filename: that it is saved under.
        size: bytes; None: not known before.
    """
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename)}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        **({} if size is None else {"Content-Length": str(size)}),
    }
