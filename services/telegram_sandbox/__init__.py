"""A Bot API server that behaves as Telegram does: for the demo, tests, load and fault runs.

Bot API
    http://127.0.0.1:8083/bot<TOKEN>/<method>, files at /file/bot<TOKEN>/<file_path>. The token is
    TELEGRAM_BOT_TOKEN (default 1000000001:sandbox-token-for-local-use-only); SANDBOX_TOKENS adds more.
    Initial chats, all open to the bot: 1001 Ada and 1002 Grace (private), -2001 Team (group),
    -1001000000001 Operations (supergroup with the topics 1 General and 7 CI).

Limits (on by default)
    One message a second in a chat with a burst of 3, 20 a minute in a group, 30 a second for a bot. The
    server holds a request up to 8 s before it answers 429. SANDBOX_LIMITS=false switches limits off, or:
    PATCH /control/limits {"enabled": false} | {"chat_per_second", "chat_burst", "group_per_minute",
    "bot_per_second", "paid_per_second", "hold_seconds", "unsent_per_chat", "active_requests"};
    GET /control/limits.

Faults: POST /control/faults, one object or a list; answers {"ids": [...]}
    {"kind": "answer", "status": 429, "description": "Too Many Requests: retry after 5",
     "parameters": {"retry_after": 5}, "times": 3, "methods": ["sendMessage"], "chat_ids": [1001]}
    {"kind": "raw", "status": 502, "body": "<html>Bad Gateway</html>", "content_type": "text/html"}
    {"kind": "close"} closes the connection without an answer; {"kind": "reset"} resets it;
    {"kind": "hang", "seconds": 30}; {"kind": "latency", "seconds": 0.2, "seconds_max": 1.5}
    "deliver": true runs the method before the fault: with "close" it is accept-then-drop.
    "times": 1 by default, null for no limit; "probability": 0.1 with PUT /control/faults/seed {"seed": 7}.
    Empty methods or chat_ids match all. GET and DELETE /control/faults, DELETE /control/faults/{id}.

People and chats
    POST /control/chats {"id", "type": private|group|supergroup|channel, "title", "username", "topics",
                         "started"}
    POST /control/chats/range {"first_id": 100000, "count": 5000} creates private chats
    GET  /control/chats/{id}
    POST /control/chats/{id}/say {"text", "person_id", "thread_id", "reply_to"} answers the message;
                         "file": {"kind": photo|document|voice|..., "content": base64, "size", "name",
                         "media_type"} with the text as its caption; or "location": {"latitude", "longitude"}
    POST /control/chats/{id}/messages/{message_id}/tap {"data"} or {"text"} answers {"callback_query_id"}
    POST /control/chats/{id}/block | unblock | deactivate | kick | leave | join | delete | restrict | allow |
                             forbid-pins | allow-pins
    PUT  /control/chats/{id}/upgrade {"new_id": -1001000002001}
    PUT  /control/chats/{id}/topics/{topic_id} {"name", "closed"}

Bots, time, reset
    GET /control/bots, POST /control/bots {"token"}; POST /control/bots/{id}/revoke | restore | freeze |
    unfreeze; GET /control/bots/{id}/updates (pending updates)
    GET /control/clock, POST /control/clock/advance {"seconds"}; POST /control/reset

The event log: GET /control/log?cursor=0&limit=1000&wait=10
    JSON lines, oldest first, with consecutive `seq`. The header X-Next-Cursor is the next page's cursor.
    410: the entries are no longer in memory (SANDBOX_LOG_KEPT), only in the file. `kind` is one of
    call: a Bot API call: time, bot, method, chat_id, thread_id, message_id, text, entities, silent, delivered
          (true: the message is in the chat), answer (given | replaced | dropped | lost), status, description,
          retry_after, held (seconds of flood control), charged (it cost 0.1 Star, see getStarTransactions),
          message (as answered);
    said, tapped, toast, update, confirmed, posted, webhook, chat, bot, billed, kept, reset.
    The log is also the stored state: SANDBOX_LOG_FILE (default DATA_DIR/telegram_sandbox/log.jsonl) is read
    at startup, so chats, messages, documents and pending updates survive, and ids are never reused. If it is
    larger than SANDBOX_LOG_MAX_BYTES (64 MiB) at startup, it is renamed to .1, and a new one starts with the
    current state: at most 10 000 messages a chat (SANDBOX_MESSAGES_KEPT) and 512 MiB of documents
    (SANDBOX_FILES_MAX_BYTES).

Nothing but the Bot API needs a token. Requests of another website's page are refused (403), and so are names
with a dot that are not in ALLOWED_HOSTS (421).

The page: / in a browser; GET /api/chats, /api/chats/{id}/messages, /api/files/{path}, /api/stream (SSE).

Modules
    app             builds the service
    bot_api/        the Bot API: HTTP server and methods; its docstring lists what is refused, with the source
    control/        the control API: faults, limits, time, bots, chats, actions of people
    page/           the page of the chats, and its JSON
    state/          what Telegram stores: bots, chats, messages, files, updates; the event log
    markup/         text and entities, as Telegram parses them
    webhook_sender  posts updates to a bot's webhook
    flood_control   Telegram's rate limits; pure
    faults          rules that delay, replace or drop answers; pure
    errors          Telegram's error answers
    json_fields     fields of JSON objects in a request
    clock           real time plus what was advanced
    metrics         the service's metrics
    settings        the environment variables
"""
