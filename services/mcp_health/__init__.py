"""The health authority: checks every service and program of the suite, and reports what it measured.

api             the routes `/health/checks` and `/health/compliance`
authority       runs the checks again and again, and stores the last result of each
check_registry  the list of checks: which program is called, and how
checks          turns an answer into a health level with evidence; pure
breaker         circuit breaker of a dependency; pure
probes          HTTP calls to other programs; every failure is one error type
responses       answers of Prometheus, Alertmanager, Grafana and Jaeger
host_metrics    memory, disk, CPU and event loop of the host
audit           measures what the compliance controls need
auth_probe      calls protected routes without a key and with a wrong one
posture         file permissions, log redaction, listening sockets and database settings
transport       whether calls between the services are encrypted or stay on the host
compliance      turns measurements into controls and a score; pure
metrics         the service's metrics
settings        the environment variables
state           the objects that routes get by dependency injection
app             builds the service
"""
