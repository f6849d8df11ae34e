"""bridge in detail: messages, Telegram, updates, requests and the process."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from grafana.dashboards.panels import HALF, QUARTER, board, choice, graph, heat, number, row

ONE = 'job="bridge", instance=~"$instance"'


def build() -> dashboards.Dashboard:
    made = board(
        "cctelegram-bridge",
        "CCTelegram / Bridge",
        "Messages from accepted to delivered, requests, and the process.",
    ).with_variable(choice("instance", "replica", 'label_values(up{job="bridge"}, instance)'))
    for add in (_now, _messages, _failures, _telegram, _updates, _requests, _other_ways_in, _process):
        add(made)
    return made


def rate(metric: str, by: str = "") -> str:
    """Returns the rate per second, summed over the selected replicas."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{ONE}}}[$__rate_interval]))"


def increase(metric: str, by: str = "") -> str:
    """Returns the number of each interval, summed over the selected replicas."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({metric}{{{ONE}}}[$__rate_interval]))"


def quantiles(histogram: str) -> list[tuple[str, str]]:
    return [
        (f"histogram_quantile({share}, {rate(f'{histogram}_bucket', 'le')})", f"p{int(share * 100)}")
        for share in (0.5, 0.95, 0.99)
    ]


def p95(histogram: str, by: str) -> tuple[str, str]:
    return f"histogram_quantile(0.95, {rate(f'{histogram}_bucket', f'{by}, le')})", f"{{{{{by}}}}}"


def _now(made: dashboards.Dashboard) -> None:
    made.with_row(row("Now"))
    made.with_panel(
        number(
            "Delivered",
            "percent",
            f"min(cctelegram_delivery_rate_percent{{{ONE}}})",
            (None, "red"),
            (90, "yellow"),
            (95, "green"),
            about="Delivered share of the messages that ended in the last hour, but for muted, superseded "
            "and cancelled ones.",
        )
    )
    made.with_panel(number("Accepted", "mps", rate("cctelegram_messages_total")))
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
            f"max(cctelegram_oldest_message_age_seconds{{{ONE}}})",
            (None, "green"),
            (60, "yellow"),
            (300, "red"),
            about="Age of the oldest message that is due; 0 if none waits.",
        )
    )
    made.with_panel(
        number(
            "Correlations in flight",
            "short",
            f"max(cctelegram_active_correlations{{{ONE}}})",
            about="Correlation ids with unfinished messages.",
        )
    )
    made.with_panel(number("Replicas", "short", 'sum(up{job="bridge"})', (None, "red"), (1, "green")))


def _messages(made: dashboards.Dashboard) -> None:
    made.with_row(row("Messages"))
    made.with_panel(
        graph(
            "Accepted by category",
            "mps",
            (rate("cctelegram_messages_total", "category"), "{{category}}"),
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Delivered and failed",
            "mps",
            (rate("cctelegram_messages_delivered_total"), "delivered"),
            (rate("cctelegram_messages_failed_total"), "failed"),
        )
    )
    made.with_panel(
        graph(
            "Waiting by state", "short", ('cctelegram:queue_depth{job="bridge"}', "{{state}}"), stacked=True
        )
    )
    made.with_panel(
        heat(
            "Time to deliver",
            "s",
            f"sum by (le) (increase(cctelegram_message_duration_seconds_bucket{{{ONE}}}[$__rate_interval]))",
            about="From accepted, or from the scheduled time, to delivered; each row is a bucket.",
        )
    )
    made.with_panel(
        graph(
            "Time to deliver, quantiles",
            "s",
            *quantiles("cctelegram_message_duration_seconds"),
            width=HALF,
            about="From accepted, or from the scheduled time, to delivered.",
        )
    )


def _failures(made: dashboards.Dashboard) -> None:
    made.with_row(row("Failures"))
    made.with_panel(
        graph(
            "Failures by reason",
            "mps",
            (rate("cctelegram_messages_failed_total", "reason"), "{{reason}}"),
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Retries, dead letters, unknown outcomes",
            "mps",
            (rate("cctelegram_retries_total"), "retries"),
            (rate("cctelegram_dead_letters_total"), "dead letters"),
            (rate("cctelegram_unknown_outcomes_total"), "unknown outcomes"),
            about="Unknown outcome: no answer came, so the message may have been delivered.",
        )
    )
    made.with_panel(
        graph("Oldest waiting", "s", (f"max(cctelegram_oldest_message_age_seconds{{{ONE}}})", "oldest"))
    )


def _telegram(made: dashboards.Dashboard) -> None:
    made.with_row(row("Telegram"))
    made.with_panel(
        graph(
            "Response time, p95",
            "s",
            p95("cctelegram_telegram_api_response_seconds", "method"),
            about="Of the Bot API; 5 s means 5 s or more.",
        )
    )
    made.with_panel(
        graph(
            "Calls by outcome",
            "reqps",
            (rate("cctelegram_telegram_api_response_seconds_count", "outcome"), "{{outcome}}"),
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Delay by rate limits",
            "s",
            *quantiles("cctelegram_rate_limit_wait_seconds"),
            about="How long Telegram's rate limits delayed delivery attempts.",
        )
    )


def _updates(made: dashboards.Dashboard) -> None:
    made.with_row(row("People"))
    made.with_panel(
        graph(
            "Updates by kind",
            "short",
            (
                f"sum by (kind) (increase(cctelegram_telegram_updates_total{{{ONE}}}[$__rate_interval]))",
                "{{kind}}",
            ),
            stacked=True,
            width=QUARTER,
            about="Taps, texts, commands, and changes of the bot's membership in chats.",
        )
    )
    made.with_panel(
        graph(
            "Time since contact with Telegram",
            "s",
            (
                f"min by (bot) (cctelegram_telegram_updates_last_success_age_seconds{{{ONE}}})",
                "{{bot}}",
            ),
            width=QUARTER,
            about="A poll lasts up to a minute. Above 90 s updates are missing; taps are lost after 150 s.",
        )
    )
    made.with_panel(
        graph(
            "Active users",
            "short",
            (f"max(daily_active_users{{{ONE}}})", "last 24 hours"),
            (f"max(monthly_active_users{{{ONE}}})", "last 30 days"),
            width=QUARTER,
        )
    )
    made.with_panel(
        graph(
            "Problems with updates",
            "short",
            (
                f"sum(increase(cctelegram_telegram_update_conflicts_total{{{ONE}}}[$__rate_interval]))",
                "another receiver",
            ),
            (
                f"sum(increase(cctelegram_telegram_update_failures_total{{{ONE}}}[$__rate_interval]))",
                "failed",
            ),
            (
                f"sum(increase(cctelegram_unauthorised_updates_total{{{ONE}}}[$__rate_interval]))",
                "of unauthorised people",
            ),
            width=QUARTER,
        )
    )


def _requests(made: dashboards.Dashboard) -> None:
    made.with_row(row("Requests"))
    made.with_panel(
        graph(
            "Requests by handler",
            "reqps",
            (rate("http_requests_total", "method, handler"), "{{method}} {{handler}}"),
            about="internal: the suite's own requests; waiting: long polls and event streams.",
        )
    )
    made.with_panel(
        graph(
            "Response time",
            "s",
            *quantiles("http_request_duration_seconds"),
            about="Without health checks, the suite's own requests, long polls and event streams; "
            "5 s means 5 s or more.",
        )
    )
    made.with_panel(
        graph(
            "Responses by status",
            "reqps",
            (rate("http_requests_total", "status"), "{{status}}"),
            stacked=True,
            about="Of all requests, also health checks and the suite's own.",
        )
    )


def _other_ways_in(made: dashboards.Dashboard) -> None:
    made.with_row(row("Other ways in, and what they become"))
    made.with_panel(
        graph(
            "Files of the folder",
            "short",
            (increase("cctelegram_folder_files_total", "outcome"), "{{outcome}}"),
            stacked=True,
        )
    )
    made.with_panel(
        graph(
            "Mails by SMTP",
            "short",
            (increase("cctelegram_smtp_mails_total", "outcome"), "{{outcome}}"),
            stacked=True,
            about="A postponed mail can be sent again; a refused one cannot.",
        )
    )
    made.with_panel(
        graph(
            "Repeats and digests",
            "short",
            (increase("cctelegram_events_deduplicated_total"), "counted as repeats"),
            (increase("cctelegram_messages_digested_total"), "combined into digests"),
            about="Events that were not sent by themselves (dedup_key, digest_key).",
        )
    )


def _process(made: dashboards.Dashboard) -> None:
    made.with_row(row("Process"))
    made.with_panel(
        graph("CPU of one core", "percent", (f"process_cpu_usage_percent{{{ONE}}}", "{{instance}}"))
    )
    made.with_panel(graph("Memory", "bytes", (f"process_resident_memory_bytes{{{ONE}}}", "{{instance}}")))
    made.with_panel(graph("Event loop lag", "s", (f"event_loop_lag_seconds{{{ONE}}}", "{{instance}}")))
    made.with_panel(
        graph(
            "Database, p95",
            "s",
            p95("database_query_duration_seconds", "operation"),
            about="Units of work, from the call to the commit; 5 s means 5 s or more.",
        )
    )
    made.with_panel(
        graph(
            "Active database connections", "short", (f"database_connections_active{{{ONE}}}", "{{instance}}")
        )
    )
    made.with_panel(
        graph(
            "Logins and rate limits",
            "short",
            (f"sum(increase(auth_failed_attempts_total{{{ONE}}}[$__rate_interval]))", "failed logins"),
            (f"sum(increase(rate_limit_hits_total{{{ONE}}}[$__rate_interval]))", "answered 429"),
            (f"sum(increase(suspicious_ip_blocks_total{{{ONE}}}[$__rate_interval]))", "addresses blocked"),
        )
    )
