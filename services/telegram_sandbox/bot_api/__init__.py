"""The Bot API.

- `server`: the ASGI application in front of the service; answers, and applies faults.
- `parameters`: parses a request's parameters.
- `call`: one call, its flood control and its log entry.
- `methods`: the table of methods, and those of bots and chats.
- `message_methods`: methods that send, edit and delete messages.
- `media_methods`: methods that send photos, audio, video, animations, voice messages and albums.
- `update_methods`: getUpdates and the webhook.
- `command_methods`: the bot's menu of commands.
- `content`: checks text, caption and options of a message.
- `reply_markup`: checks keyboards.

What this project sends, what Telegram refuses of it, and where that was read: `Client.cpp` of the Bot API
server (May 2026; functions without a file name), other files are TDLib's (July 2026). Codes in capitals come
from Telegram's servers, whose source is not public.

sendMessage
    chat_id           not the integer of a known chat: `check_chat`, `check_chat_access`
    text              empty, over 32 768 bytes: `get_input_message_text`, `get_formatted_text`; shows nothing,
                      over 4 096 code points: MessageEntity.cpp `fix_formatted_text`, misc.cpp
                      `strip_empty_characters`, MessageContent.cpp `create_input_message_content`
    link_preview_options
                      a wrong field: `get_link_preview_options`
    entities          a wrong field: `get_text_entity`, JsonBuilder.cpp; a link, a person: MessageEntity.cpp
                      `get_message_entities`, LinkManager.cpp `check_link_impl`, HttpUrl.cpp `parse_url`;
                      not within the text: MessageEntity.cpp `clean_input_string_with_entities`
    message_thread_id
                      General or no topic: `check_message_topic`; closed: TOPIC_CLOSED
    reply_parameters  a wrong field: `get_reply_parameters`; no such message: `check_reply_parameters`
    reply_markup      a wrong field: `get_reply_markup`; a text, a URL: ReplyMarkup.cpp `get_reply_markup`;
                      BUTTON_TEXT_INVALID, BUTTON_DATA_INVALID (over 64 bytes), REPLY_MARKUP_TOO_LONG
    disable_notification, protect_content, allow_paid_broadcast
                      nothing: another value counts as false (`to_bool`)
sendDocument: chat_id, message_thread_id, reply_parameters, reply_markup, disable_notification,
protect_content, allow_paid_broadcast as above
    document          missing: `process_send_document_query`; empty: FileLoaderUtils.cpp
                      `check_full_local_location`; over 50 MB: 413
    caption, caption_entities
                      as text and entities; over 1 024 code points: MessageContent.cpp
                      `get_input_message_content`
sendPhoto, sendAudio, sendVideo, sendAnimation, sendVoice: chat_id, message_thread_id, reply_parameters,
reply_markup, disable_notification, protect_content, allow_paid_broadcast, caption, caption_entities as above
    photo, audio, video, animation, voice
                      missing: `process_send_photo_query` and its like; empty, over 50 MB: as a document
    photo             over 10 MB: FileLoaderUtils.cpp `check_full_local_location`; no image:
                      IMAGE_PROCESS_FAILED; width and height over 10 000 together, or one 20 times the other:
                      PHOTO_INVALID_DIMENSIONS
    has_spoiler       nothing: `to_bool`
sendMediaGroup: chat_id, message_thread_id, reply_parameters, disable_notification, protect_content,
allow_paid_broadcast as above; reply_markup is not read
    media             missing, no array: `get_input_message_contents`; a wrong field, type, file or caption:
                      `get_input_media`; over 10, none, documents or audio beside others: MessageContent.cpp
                      `check_message_group_message_contents`; a refused file: `on_message_send_failed`
editMessageText: chat_id, text, entities, link_preview_options as above; too long: MESSAGE_TOO_LONG
    message_id        no message of the bot: `check_message`, MessagesManager.cpp `can_edit_message`
    reply_markup      also anything but an inline keyboard: ReplyMarkup.cpp `get_inline_reply_markup`
    (all)             the same as before: MESSAGE_NOT_MODIFIED
editMessageReplyMarkup: chat_id, message_id, reply_markup as above
deleteMessage: chat_id as above
    message_id        no message of the chat: `check_message`; older than 48 h, or of another sender:
                      MessagesManager.cpp `can_revoke_message`
pinChatMessage: chat_id as above; disable_notification, nothing (`to_bool`)
    message_id        no message of the chat: `check_message`; no right to pin: MessagesManager.cpp
                      `can_pin_message`
answerCallbackQuery
    callback_query_id
                      older than the tap's 150 s, or another bot's: QUERY_ID_INVALID
    text              over 200 characters: MESSAGE_TOO_LONG
    show_alert        nothing: `to_bool`
setMessageReaction: chat_id, message_id as above
    reaction          a wrong field: `get_reaction_types`; REACTION_INVALID, REACTIONS_TOO_MANY
getUpdates
    offset, limit, timeout
                      nothing: clamped to 1 to 100, 0 to 50 s (`process_get_updates_query`)
    allowed_updates   nothing: unknown kinds are ignored (`get_allowed_update_types`)
setWebhook: allowed_updates as above
    url               no HTTP URL: `do_set_webhook`; not HTTPS, another port: WebhookActor.cpp `start_up`;
                      here addresses of this machine or network are exempt, as by a local Bot API server
    secret_token      over 256 characters, or not of A-Z a-z 0-9 _ -: `do_set_webhook`
    max_connections   nothing: clamped to 1 to 100 (`get_webhook_max_connections`)
deleteWebhook: drop_pending_updates, nothing (`to_bool`)
setMyCommands
    commands          a wrong field: `get_bot_commands`; empty, over 32 or 256 code points: BotCommand.cpp
                      `set_commands`; BOT_COMMAND_INVALID, BOT_COMMANDS_TOO_MUCH
getStarTransactions: offset, limit, nothing: clamped (`process_get_star_transactions_query`)
getFile; the file is at /file/bot<TOKEN>/<file_path>
    file_id           none that this bot got: invalid file_id (`check_remote_file_id`); over 20 MB
                      (`MAX_DOWNLOAD_FILE_SIZE`, 20 << 20 bytes): file is too big (`do_get_file`)
getChat: chat_id as above, or @username of a public group or channel: `check_chat`
getMe, getWebhookInfo: no parameters

Of any method: a chat that refuses the bot (`state.chats`), flood control, a revoked or frozen bot.
Stricter than Telegram: a topic that a chat does not have is refused in every chat; no file is fetched by URL.
"""
