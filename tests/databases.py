"""Which databases a test runs on."""

import pytest

#: For tests to which the second database would show nothing, such as of what is refused before any SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
