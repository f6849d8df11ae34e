"""The control API, for tests and for people at the page.

- `api`: faults, limits, time, bots and the event log.
- `chats_api`: chats, and actions of people in them.
- `person_actions`: what a person does: write, tap, block, leave.
"""
