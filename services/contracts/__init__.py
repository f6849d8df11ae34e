"""What crosses a wire between our services and their callers: pydantic models, no I/O, no clients."""
