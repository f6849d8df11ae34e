"""The health authority: asks every part of the suite how it is, and says what was measured.

settings    the environment
answers     what the others answer, as far as it is read here
checks      answer → level and evidence; pure
breaker     when a dependency is left alone for a while; pure
probes      calls out, and what can go wrong with a call in one error
access      tries the doors of the others, without a key and with a wrong one
transport   how calls between the services travel
posture     files, log, sockets and store, as seen from here
machine     memory, disk, CPU and event loop of where it runs
catalogue   which checks there are
authority   makes them again and again, and what is known of each
audit       measures what the controls ask for
compliance  measurement → control → score; pure
metrics     the service's own series
api         /health/checks and /health/compliance
app         wires the above
"""
