"""Plumbing that every service stands on; not one domain noun, and nothing imported from ours.

settings    the environment, and secrets from files
telemetry   one registry and one tracer provider a service
logs        JSON lines with trace ids, secrets redacted
db          opens a database: one interface (database) over sqlite, with group commit, and postgres
health      measured levels, never green by default
http        middleware for every request; clients that are counted and traced
auth        bearer keys
guard       what a hostile or careless caller meets: a rate limit, a block after wrong keys
errors      problem+json for every error
clock       time as an argument
background  loops beside the requests, and what happens when one fails
service     the one call that gives a service all of the above
"""
