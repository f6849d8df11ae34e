"""The live page: flow, health, queue and recent messages of the suite, behind a login.

It owns no data. Each number on it was measured by the service that it is about, and carries
the time of that measurement; what was not measured is shown as unknown.

settings   the environment
readings   what the other services answer, as far as it is read here
sources    asks them, again and again; keeps each last answer and each failure
history    the rolling hour, in bounded memory
overview   one document from all of the above: what the page shows
login      the password, the session cookie, who may look
live       the WebSocket that pushes the overview
api        the same over REST, and the search through messages
pages      the built page, the login page, security headers
ui/        the page's TypeScript; static/ is what it is built to
"""
