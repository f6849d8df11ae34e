"""SMTP: a mail server of the bridge, off by default; a mail is an event of the topic in its address.

- `server`: opens the port; one session for each connection.
- `session`: who may send, and what each command of SMTP is answered.
- `delivery`: stores a mail as an event for each recipient.
- `mail`: reads a mail: subject, text, attachments, importance; pure.
- `parts`: the parts of a mail, within bounds; pure.
- `html`: the text of an HTML mail; pure.
- `mail_event`: the event of a mail; pure.
- `replies`: problems as replies of SMTP; pure.
"""
