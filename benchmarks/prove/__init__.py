"""Proof of no loss: the real bridge and sandbox as processes, a client that posts, and things that go wrong.

__main__    the command: which scenarios, on which store; prints the table
scenarios   what goes wrong, and when
client      posts events and writes down every answer it got: the only account of what was accepted
programs    bridge, sandbox, PostgreSQL, Redis: started, killed and started again
reader      the judge: knows the client's record, the sandbox's log and the bridge's public API,
            nothing of the bridge's own code or database
evidence    whether what went wrong was felt: a run in which nothing happened proves nothing

python -m benchmarks.prove                     the whole proof, ten to fifteen minutes on two cores
python -m benchmarks.prove --quick             about a minute
python -m benchmarks.prove --scenario disk --seed 7
"""
