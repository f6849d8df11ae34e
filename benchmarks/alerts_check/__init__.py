"""Breaks real causes in a running suite, and checks that each rule fires, is delivered, and resolves.

- `shortened`: the rules and their times, divided by a factor; pure.
- `stack`: the services and the programs that watch them, each a process.
- `causes`: what is broken for each rule, and which rules cannot be provoked here.
- `observation`: what Prometheus, Alertmanager and the chat show of a rule.
"""
