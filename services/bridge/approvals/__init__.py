"""Approvals: questions to people, with buttons; the first answer of somebody who may decide wins.

api        ask, read (and wait), decide, cancel over REST
approval   what a question is, and what an answer comes to (pure)
wording    the words: question, verdict, toast (pure)
posted     an event of the type approval_request as a question
reading    from a request's body to a question
store      questions in the database: asked, found, read
closing    answer, cancel, expire: by compare-and-set, with all that follows in the same transaction
repeating  asks again what is open after a silence in which taps died
view       a question as the API tells it (pure)
news       what is told of it after the commit
expiry     closes what nobody answered
"""
