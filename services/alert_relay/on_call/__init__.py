"""On call as code: ON_CALL_FILE says who is notified of which incident, and who next.

- `document`: the file as people write it; reads and checks it.
- `policies`: the policies of the file, and the rules that choose one; pure.
"""
