"""docs/settings.md is what the settings classes say."""

from tests.house import settings_page


def test_the_page_of_settings_is_up_to_date() -> None:
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run make settings-page"
