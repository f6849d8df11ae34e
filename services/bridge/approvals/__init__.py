"""Approvals: questions to people, with buttons; the first answer of somebody who may decide wins.

api        ask, read (and wait), decide, cancel over REST
approval   what a question is, and what an answer comes to (pure)
wording    the words: question, verdict, toast (pure)
store      rows changed by compare-and-set, with all that follows in the same transaction
expiry     closes what nobody answered
"""
