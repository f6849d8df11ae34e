"""Files: uploads, and the attachments of events.

- `api`: the routes: upload a file, read it.
- `form`: an event with its files in one request (multipart/form-data).
- `names`: names of files, from URLs, paths and media types; pure.
"""
