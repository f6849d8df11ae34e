"""Sends notifications by channels other than Telegram, as one more bot of the outbox.

- `channel_sender`: what the outbox's worker sends by: finds the target of a message and its channel.
- `delivery`: what a channel gets of one message, and the results of attempts (pure).
- `http_calls`: a call by HTTP, limited in time and size; what its end means.
- `mail`, `slack`, `pagerduty`, `webhook`, `apprise_service`: a channel each, by its protocol.
- `mail_message`, `slack_message`, `pagerduty_event`, `webhook_body`: what each of them shows (pure).
- `plain_text`: a notification as plain text with its links (pure).

A channel's answer is the receipt of a message: what the mail server said, Slack's timestamp, the status.
"""
