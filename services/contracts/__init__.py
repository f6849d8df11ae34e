"""Pydantic models of what crosses a wire; no I/O, no clients."""
