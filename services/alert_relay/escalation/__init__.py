"""Escalation: what happens while no person acknowledges an incident, or no notification of it arrives.

- `levels`: reaches the next level, or falls back to other targets, in one transaction.
- `failures`: escalates at once what cannot arrive any more.
- `auditor`: finds incidents whose escalation stands still, and starts it again.
"""
