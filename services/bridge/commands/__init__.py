"""Commands: what people ask the bot, answered with what was measured, or "unknown".

commands   a command and its answer (pure)
snapshot   what was measured, read from the running parts
modes      how a chat wants to be spoken to, in the database
"""
