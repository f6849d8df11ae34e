"""Alerts and notifications of alert-relay, health checks of mcp-health, and use of the live page."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from grafana.dashboards.panels import HALF, board, choice, graph, number, row

RELAY = 'job="alert-relay", instance=~"$instance"'


def build() -> dashboards.Dashboard:
    made = board(
        "cctelegram-alerting",
        "CCTelegram / Alerting and health",
        "Alerts and notifications, health checks, and the live page.",
    ).with_variable(choice("instance", "relay", 'label_values(up{job="alert-relay"}, instance)'))
    for add in (_now, _alerts, _incidents, _health, _page):
        add(made)
    return made


def increase(metric: str, by: str = "") -> str:
    """Returns the increase of a counter of alert-relay within the interval of a point."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({metric}{{{RELAY}}}[$__rate_interval]))"


def quantiles(histogram: str) -> list[tuple[str, str]]:
    rate = f"sum by (le) (rate({histogram}_bucket{{{RELAY}}}[$__rate_interval]))"
    return [(f"histogram_quantile({share}, {rate})", f"p{int(share * 100)}") for share in (0.5, 0.95)]


def _now(made: dashboards.Dashboard) -> None:
    made.with_row(row("Now"))
    made.with_panel(
        number(
            "Watchdog age",
            "s",
            f"max(cctelegram_watchdog_age_seconds{{{RELAY}}})",
            (None, "green"),
            (150, "yellow"),
            (300, "red"),
            about="Time since the last Watchdog alert arrived through Prometheus and Alertmanager.",
        )
    )
    made.with_panel(
        number(
            "Firing incidents",
            "short",
            f'max(cctelegram_incidents{{{RELAY}, state="firing"}})',
            (None, "green"),
            (1, "yellow"),
        )
    )
    made.with_panel(
        number(
            "Notifications waiting",
            "short",
            f'sum(max by (state) (cctelegram_queue_depth{{{RELAY}, state=~"queued|sending|retry_wait"}}))',
            (None, "green"),
            (20, "yellow"),
            (100, "red"),
            about="Queued, being sent, or waiting for a retry.",
        )
    )
    made.with_panel(
        number(
            "Notifications failed",
            "short",
            f'sum(increase(cctelegram_notifications_total{{{RELAY}, outcome="failed"}}[1h]))',
            (None, "green"),
            (1, "red"),
            about="Failed notifications of the last hour.",
        )
    )
    made.with_panel(
        number(
            "Failing checks",
            "short",
            "count(cctelegram_health_check_up == 0) or 0 * count(cctelegram_health_check_up)",
            (None, "green"),
            (1, "red"),
            about="Health checks of mcp-health that are unhealthy or critical.",
        )
    )
    made.with_panel(
        number(
            "Compliance",
            "percent",
            "min(compliance_score)",
            about="Share of the controls that passed, of the standard with the lowest; those that cannot be "
            "measured did not pass.",
        )
    )


def _alerts(made: dashboards.Dashboard) -> None:
    made.with_row(row("Alerts"))
    made.with_panel(
        graph(
            "Alerts received",
            "short",
            (increase("cctelegram_alerts_received_total", "status"), "{{status}}"),
            (increase("cctelegram_alerts_unreadable_total"), "unreadable"),
        )
    )
    made.with_panel(
        graph(
            "Notifications",
            "short",
            (increase("cctelegram_notifications_total", "channel, outcome"), "{{channel}} {{outcome}}"),
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Truncated alerts",
            "short",
            (increase("cctelegram_alerts_left_out_total", "outcome"), "{{outcome}}"),
            about="Alerts left out of webhooks (max_alerts): new ones fetched from Alertmanager, or missed.",
        )
    )
    made.with_panel(
        graph(
            "Alertmanager read",
            "s",
            (f"max by (cluster) (cctelegram_reconcile_age_seconds{{{RELAY}}})", "{{cluster}}"),
            about="Time since all Alertmanagers of a cluster last answered with their alerts.",
        )
    )
    made.with_panel(graph("Notification delay", "s", *quantiles("cctelegram_notification_delay_seconds")))
    made.with_panel(
        graph(
            "Oldest notification",
            "s",
            (f"max(cctelegram_oldest_message_age_seconds{{{RELAY}}})", "oldest"),
            about="Age of the oldest notification that is due; 0 if none waits.",
        )
    )
    made.with_panel(
        graph(
            "Unknown outcomes, failed retention",
            "short",
            (increase("cctelegram_unknown_outcomes_total"), "unknown outcomes"),
            (increase("cctelegram_retention_failures_total"), "failed retention runs"),
            about="Attempts that Telegram did not answer, and retention runs of alert-relay that failed.",
        )
    )
    made.with_panel(
        graph(
            "Rows deleted by retention",
            "short",
            (increase("cctelegram_pruned_rows_total", "table"), "{{table}}"),
            stacked=True,
        )
    )


def _incidents(made: dashboards.Dashboard) -> None:
    made.with_row(row("Incidents"))
    made.with_panel(
        graph(
            "Incidents",
            "short",
            (f"max by (state) (cctelegram_incidents{{{RELAY}}})", "{{state}}"),
            about="Incidents now, by state; resolved ones until ALERT_RETENTION_DAYS.",
        )
    )
    made.with_panel(
        graph(
            "Time to acknowledge",
            "s",
            *quantiles("cctelegram_incident_ack_seconds"),
            about="From the opening of an incident to its first acknowledgement (MTTA).",
        )
    )
    made.with_panel(
        graph(
            "Time to resolve",
            "s",
            *quantiles("cctelegram_incident_resolve_seconds"),
            about="From the start of an incident's first alert to the end of its last (MTTR).",
        )
    )
    made.with_panel(
        graph(
            "Never acknowledged",
            "short",
            (increase("cctelegram_incidents_never_acknowledged_total"), "incidents"),
            about="Incidents that were resolved without an acknowledgement.",
        )
    )
    made.with_panel(
        graph(
            "Escalations",
            "short",
            (increase("cctelegram_escalations_total", "level, outcome"), "level {{level}}, {{outcome}}"),
            (increase("cctelegram_fallbacks_total", "channel"), "fallback: {{channel}}"),
            about="Levels that incidents reached, and targets notified because nothing had arrived.",
        )
    )
    made.with_panel(
        graph(
            "Alerts per incident",
            "short",
            *quantiles("cctelegram_alerts_per_incident"),
            about="Alerts of an incident when it is resolved.",
        )
    )
    made.with_panel(
        graph(
            "Held back",
            "short",
            (increase("cctelegram_notifications_held_back_total", "cause"), "{{cause}}"),
            ("cctelegram_maintenance_windows", "active windows"),
            about="Notifications that people did not get because of a maintenance window or a throttle.",
        )
    )


def _health(made: dashboards.Dashboard) -> None:
    durations = "sum by (check, le) (rate(cctelegram_health_check_duration_seconds_bucket[$__rate_interval]))"
    made.with_row(row("Health checks"))
    made.with_panel(
        graph(
            "Check duration, p95",
            "s",
            (f"histogram_quantile(0.95, {durations})", "{{check}}"),
            about="5 s means 5 s or more.",
        )
    )
    made.with_panel(
        graph(
            "Circuit breakers",
            "short",
            ("max by (dependency) (cctelegram_circuit_breaker_state)", "{{dependency}}"),
            about="0: closed, 1: half-open, 2: open (no calls).",
        )
    )
    made.with_panel(
        graph(
            "Compliance controls by status",
            "short",
            ("sum by (status) (cctelegram_compliance_controls)", "{{status}}"),
            stacked=True,
            about="A control of several standards counts once for each.",
        )
    )


def _page(made: dashboards.Dashboard) -> None:
    made.with_row(row("The live page"))
    made.with_panel(graph("Open pages", "short", ("sum(websocket_connections_total)", "pages"), width=HALF))
    made.with_panel(
        graph(
            "Updates sent, pages dropped",
            "short",
            ("sum(increase(websocket_messages_total[$__rate_interval]))", "updates"),
            ("sum(increase(websocket_errors_total[$__rate_interval]))", "dropped"),
            width=HALF,
        )
    )
