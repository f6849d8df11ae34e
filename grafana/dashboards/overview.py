"""The overview of all services: the page to look at first."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from grafana.dashboards.panels import (
    HALF,
    QUARTER,
    board,
    choice,
    graph,
    number,
    row,
    rows,
    ups,
)

OURS = 'job=~"$service"'
#: Requests of callers: without health checks, the suite's own requests, long polls and event streams.
CALLERS = ', handler!~"/health.*|internal|waiting"'
FAILED = f'{CALLERS}, status="5xx"'
DISKS = 'fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660"'


def build() -> dashboards.Dashboard:
    made = board(
        "cctelegram-overview",
        "CCTelegram / Overview",
        "Delivery, the queue, firing alerts and scrape targets.",
    ).with_variable(choice("service", "service", "label_values(http_requests_total, job)"))
    for add in (_now, _flow, _alerts, _services, _machine):
        add(made)
    return made


def _now(made: dashboards.Dashboard) -> None:
    made.with_row(row("Now"))
    made.with_panel(
        number(
            "Delivered",
            "percent",
            'min(cctelegram_delivery_rate_percent{job="bridge"})',
            (None, "red"),
            (90, "yellow"),
            (95, "green"),
            about="Delivered share of the messages that ended in the last hour, but for muted, superseded "
            "and cancelled ones.",
        )
    )
    made.with_panel(
        number("Accepted", "mps", 'sum(rate(cctelegram_messages_total{job="bridge"}[$__rate_interval]))')
    )
    made.with_panel(
        number(
            "Delivered a second",
            "mps",
            'sum(rate(cctelegram_messages_delivered_total{job="bridge"}[$__rate_interval]))',
        )
    )
    made.with_panel(
        number(
            "Waiting",
            "short",
            'sum(cctelegram:queue_depth{job="bridge"})',
            (None, "green"),
            (500, "yellow"),
            (1000, "red"),
            about="Queued, being sent, or waiting for a retry; scheduled messages do not count.",
        )
    )
    made.with_panel(
        number(
            "Oldest waiting",
            "s",
            'max(cctelegram_oldest_message_age_seconds{job="bridge"})',
            (None, "green"),
            (60, "yellow"),
            (300, "red"),
            about="Age of the oldest message that is due; 0 if none waits.",
        )
    )
    made.with_panel(
        number(
            "Targets down",
            "short",
            "count(up == 0) or vector(0)",
            (None, "green"),
            (1, "red"),
            about="Scrape targets that do not answer.",
        )
    )


def _flow(made: dashboards.Dashboard) -> None:
    made.with_row(row("Flow"))
    made.with_panel(
        graph(
            "Messages in and out",
            "mps",
            ('sum(rate(cctelegram_messages_total{job="bridge"}[$__rate_interval]))', "accepted"),
            ('sum(rate(cctelegram_messages_delivered_total{job="bridge"}[$__rate_interval]))', "delivered"),
            ('sum(rate(cctelegram_messages_failed_total{job="bridge"}[$__rate_interval]))', "failed"),
        )
    )
    made.with_panel(
        graph(
            "Waiting by state", "short", ('cctelegram:queue_depth{job="bridge"}', "{{state}}"), stacked=True
        )
    )
    made.with_panel(
        graph(
            "Time to deliver",
            "s",
            ("cctelegram:message_duration:p50:5m", "p50"),
            ("cctelegram:message_duration:p95:5m", "p95"),
            ("cctelegram:message_duration:p99:5m", "p99"),
            about="From accepted, or from the scheduled time, to delivered.",
        )
    )


def _alerts(made: dashboards.Dashboard) -> None:
    made.with_row(row("Alerts and targets"))
    made.with_panel(
        rows(
            "Firing alerts",
            'ALERTS{alertstate="firing"}',
            ["alertname", "severity", "service", "instance"],
        )
    )
    made.with_panel(ups("Scrape targets", ("up", "{{job}} {{instance}}")))
    made.with_panel(
        graph(
            "Incidents",
            "short",
            ("max by (state) (cctelegram_incidents)", "{{state}}"),
            width=HALF,
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Notifications of alerts",
            "short",
            (
                "sum by (channel, outcome) (increase(cctelegram_notifications_total[$__rate_interval]))",
                "{{channel}} {{outcome}}",
            ),
            width=HALF,
        )
    )


def requests(more: str = "") -> str:
    """Returns the requests a second, by service."""
    return f"sum by (job) (rate(http_requests_total{{{OURS}{more}}}[$__rate_interval]))"


def increase(counter: str) -> str:
    """Returns the increase of a counter, by service."""
    return f"sum by (job) (increase({counter}{{{OURS}}}[$__rate_interval]))"


def _services(made: dashboards.Dashboard) -> None:
    durations = f"sum by (job, le) (rate(http_request_duration_seconds_bucket{{{OURS}}}[$__rate_interval]))"
    made.with_row(row("Services"))
    made.with_panel(
        graph(
            "Requests",
            "reqps",
            (requests(), "{{job}}"),
            about="All requests, also health checks and the suite's own.",
        )
    )
    made.with_panel(
        graph(
            "Answered 5xx",
            "percent",
            (f"100 * {requests(FAILED)} / {requests(CALLERS)}", "{{job}}"),
            about="Of callers' requests: no health checks, no own requests, no long polls, no event streams.",
        )
    )
    made.with_panel(
        graph(
            "Response time, p95",
            "s",
            (f"histogram_quantile(0.95, {durations})", "{{job}}"),
            about="Of callers' requests, as above; 5 s means 5 s or more.",
        )
    )
    made.with_panel(
        graph("CPU of one core", "percent", (f"process_cpu_usage_percent{{{OURS}}}", "{{job}} {{instance}}"))
    )
    made.with_panel(
        graph("Memory", "bytes", (f"process_resident_memory_bytes{{{OURS}}}", "{{job}} {{instance}}"))
    )
    made.with_panel(
        graph("Event loop lag", "s", (f"event_loop_lag_seconds{{{OURS}}}", "{{job}} {{instance}}"))
    )
    lost = f"sum by (job, reason) (rate(trace_spans_lost_total{{{OURS}}}[$__rate_interval]))"
    made.with_panel(graph("Spans lost", "cps", (lost, "{{job}} {{reason}}")))
    made.with_panel(
        graph("Failed logins", "short", (increase("auth_failed_attempts_total"), "{{job}}"), stacked=True)
    )
    made.with_panel(
        graph(
            "Refused requests",
            "short",
            (increase("rate_limit_hits_total"), "{{job}} answered 429"),
            (increase("suspicious_ip_blocks_total"), "{{job}} addresses blocked"),
            about="Above a rate limit, or from an address with too many failed logins.",
        )
    )


def _machine(made: dashboards.Dashboard) -> None:
    full = f"100 * (1 - node_filesystem_avail_bytes{{{DISKS}}} / node_filesystem_size_bytes{{{DISKS}}})"
    made.with_row(row("Machine and databases"))
    made.with_panel(
        graph(
            "CPU of the machine",
            "percent",
            (
                '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval])))',
                "{{instance}}",
            ),
            width=QUARTER,
        )
    )
    made.with_panel(
        graph(
            "Disk usage",
            "percent",
            (
                f"{full} unless on (instance, device, mountpoint) node_filesystem_readonly == 1",
                "{{mountpoint}}",
            ),
            width=QUARTER,
        )
    )
    made.with_panel(
        graph(
            "PostgreSQL connections",
            "short",
            ("sum by (state) (pg_stat_activity_count)", "{{state}}"),
            width=QUARTER,
            stacked=True,
        )
    )
    made.with_panel(
        graph("Redis memory", "bytes", ("redis_memory_used_bytes", "{{instance}}"), width=QUARTER)
    )
