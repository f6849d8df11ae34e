"""Ways in beside `POST /events`: other forms of request, each read to an event and stored like any other.

- `api`: the routes.
- `admission`: who makes a request, and what a repetition of it is.
- `draft`: an event made of a client's own fields; errors name these.
- `send`: plain text, forms and queries.
- `ntfy_api`: the routes of ntfy's publish form. `ntfy`: the event of a publication, and ntfy's answer.
- `ntfy_fields`, `ntfy_delay`, `ntfy_actions`: ntfy's headers and JSON, its delays, its actions.
- `ntfy_links`: the buttons and lines of its URLs.
- `hooks`: webhooks of other products.
- `smtp`: mails, by a mail server of the bridge.
- `topics`: which paths are topics.
- `openapi`: the document of the routes.
"""
