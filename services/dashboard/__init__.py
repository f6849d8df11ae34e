"""The dashboard: a live page with the flow, health, queue and recent messages of the suite, behind a login.

The dashboard stores no data of the suite. A service measured each number on the page, and the page shows the
time of that measurement; a value that was not measured is unknown.

settings    the environment variables
pollers     reads the other services again and again; stores each last answer and each failure
history     the numbers of the last hour in bounded memory; pure
overview    builds the document that the page shows; pure
login       passwords and session cookies
login_queue the queue of logins, in which a right one is not kept waiting by a crowd of wrong ones
revocations the sessions that were ended before they expired, in a file
hub         pushes updates to every connected page
state       the objects that routes get by dependency injection
api         the same data over REST and WebSocket, and the search for messages
pages       the routes of the page and of the login
page_files  the built page, and what browsers may keep of it
metrics     the metrics of the WebSocket
app         builds the service
ui/         the page's TypeScript sources; static/ is the built page
"""
