"""Chats: how their people want to be reached.

quiet    quiet hours in a chat's own time zone (pure)
store    a chat's settings and state on disk
api      chats over REST
"""
