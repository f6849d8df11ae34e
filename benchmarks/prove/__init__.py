"""Proof of no loss: it runs the real services as processes, posts events and alerts, and injects faults.

__main__       parses the command line, runs the scenarios and prints the table
scenarios      inject the faults of each scenario
client         posts events and records each answer: the only record of what was accepted
alerts         posts alerts to alert-relay, and checks their notifications
programs       start, kill and restart bridge, sandbox, PostgreSQL and Redis
reader         checks the invariants from the client's record, the sandbox's log and the bridge's public API;
               it uses neither the bridge's code nor its database
evidence       counts the effects of the faults: a run without any effect proves nothing
skewed_bridge  runs the bridge with a wall clock that the proof sets

python -m benchmarks.prove                     the whole proof, about fifteen minutes on two cores
python -m benchmarks.prove --quick             about a minute
python -m benchmarks.prove --scenario disk --seed 7
"""
