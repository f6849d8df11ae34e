"""The command `cct`: typer and rich over the Python client.

- `commands`: the commands.
- `app`: all of them together. `__main__`: the entry point.
- `command`: registers a command with its example and common options. `arguments`: shared options.
- `attachments`: uploads the files of a message.
- `session`: one run: its client, its output, its errors. `exit_codes`: how it ends. `option_names`: names of
  wrong fields as they were typed.
- `output`: what is printed. `life`: a message's life as a drawing. `findings`: health in words.
- `dialogue`: questions to the person at the terminal. `bot_api`: Telegram's methods that a set-up calls.
- `env_file`: writes variables into `.env`.
- `accounts`: the name of the person at the terminal.
- `times`: times and durations as people write them.
"""
