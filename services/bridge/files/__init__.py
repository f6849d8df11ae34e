"""Files: uploads, and the attachments of events.

- `api`: the routes: upload a file, read it.
- `form`: an event with its files in one request (multipart/form-data).
- `fetch`: stores the files that an event names by URL, before it is sent.
- `download`: downloads one file, from public addresses only.
- `file_headers`: headers of a file that a browser saves; pure.
- `names`: names of files, from URLs, paths and media types; pure.
"""
