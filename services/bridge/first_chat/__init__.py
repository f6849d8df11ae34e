"""The first chat: where no setting names a chat, the person who writes a printed code to the bot chooses it.

- `schema`: the table. `store`: offers the code and takes it.
- `choice`: prints the code, and puts the chosen chat in force in every replica.
- `api`: the route that lists the bots and their chats.
"""
