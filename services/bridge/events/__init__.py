"""Events: from a posted request to the text in a chat.

- `addressed`: reads a request and finds its recipients; pure.
- `accept`: checks a request and makes events and messages of it; pure.
- `answer_body`: the body of the 202; pure.
- `attachments`: checks the files that events name against Telegram's limits.
- `render`: makes the text of an event; pure.
- `digest_text`: the text of a digest; pure.
- `formats`: a description in markdown or html as text and entities; pure.
- `markdown_text`, `html_text`: read one format each, by libraries; pure.
- `marked_text`: makes of what they read a text that Telegram takes; pure.
- `send_options`: how an event's messages are sent, beside their text; pure.
- `mappings`: the operator's own readers of webhooks, by Jinja2.
- `mapping_folder`: reads them, also when a file has changed.
- `buttons`: the buttons of an event's messages, and what a tap names; pure.
- `templates`: the operator's own texts, by Jinja2.
- `template_folder`: reads them, also when a file has changed.
- `api`: the routes that list templates, and show the text of an event without sending it.
"""
