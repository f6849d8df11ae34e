"""CCTelegram: events and alerts in over REST, surely out to Telegram, every step visible."""
