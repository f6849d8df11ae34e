"""Which databases a test runs on."""

import pytest

#: For tests of what is decided before any SQL: the second database would show nothing.
without_sql = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
