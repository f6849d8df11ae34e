"""The commands; each module registers its own when it is imported.

- `setup`: connects a bot, and writes the settings.
- `trial`: send a test message. `send`: post an event. `ask`: ask people and wait.
- `watch`: follow changes live.
- `messages`: search, show, cancel, replay. `export`: write messages to a file.
- `incidents`: list, show and handle the incidents of alert-relay.
- `targets`: where alerts may go, and a test.
- `maintenance`: begin, plan, list and end maintenance windows of alert-relay.
- `keys`, `chats`, `routes`, `templates`: what an operator sets.
- `status`: health of every service. `doctor`: what is set up, what is wrong, what to do.
"""
