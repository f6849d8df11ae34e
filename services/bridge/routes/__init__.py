"""Routes: who gets an event that names nobody.

routes     rules, and whom they give an event to (pure)
document   rules as people write them, in a file or over REST (pure)
schema     where those of the API are kept
routing    the rules in force: read from the file or the database, again whenever they change
api        routes over REST, with a dry run
"""
