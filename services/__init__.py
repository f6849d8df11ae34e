"""CCTelegram: takes events and alerts over REST, and delivers them to Telegram durably and observably."""
