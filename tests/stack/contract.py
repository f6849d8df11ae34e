"""The metrics and alerts of the contract, and those that are missing, with the reason.

The commit that adds a missing name moves it to the first list.
"""

OURS = frozenset({"bridge", "mcp-health", "alert-relay", "dashboard", "telegram-sandbox"})
BRIDGE = frozenset({"bridge"})
RELAY = frozenset({"alert-relay"})

#: Series as on a metrics page: the services that export it, and its labels.
METRICS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "cctelegram_messages_total": (BRIDGE | RELAY, frozenset({"type", "category"})),
    "cctelegram_messages_delivered_total": (BRIDGE | RELAY, frozenset()),
    "cctelegram_messages_failed_total": (BRIDGE | RELAY, frozenset({"reason"})),
    "cctelegram_message_duration_seconds_bucket": (BRIDGE | RELAY, frozenset({"le"})),
    "cctelegram_telegram_api_response_seconds_bucket": (
        BRIDGE | RELAY,
        frozenset({"method", "outcome", "le"}),
    ),
    "cctelegram_queue_depth": (BRIDGE | RELAY, frozenset({"state"})),
    "cctelegram_oldest_message_age_seconds": (BRIDGE | RELAY, frozenset()),
    "cctelegram_active_connections": (BRIDGE, frozenset()),
    "cctelegram_active_correlations": (BRIDGE | RELAY, frozenset()),
    "cctelegram_events_deduplicated_total": (BRIDGE, frozenset()),
    "cctelegram_messages_digested_total": (BRIDGE, frozenset()),
    "cctelegram_memory_usage_bytes": (BRIDGE, frozenset()),
    "cctelegram_delivery_rate_percent": (BRIDGE, frozenset()),
    "cctelegram_retries_total": (BRIDGE | RELAY, frozenset({"reason"})),
    "cctelegram_dead_letters_total": (BRIDGE | RELAY, frozenset({"reason"})),
    "cctelegram_unknown_outcomes_total": (BRIDGE | RELAY, frozenset({"reason"})),
    "cctelegram_rate_limit_wait_seconds_bucket": (BRIDGE | RELAY, frozenset({"le"})),
    "cctelegram_circuit_breaker_state": (frozenset({"mcp-health"}), frozenset({"dependency"})),
    "cctelegram_telegram_updates_last_success_age_seconds": (BRIDGE, frozenset({"bot"})),
    "cctelegram_telegram_update_conflicts_total": (BRIDGE, frozenset({"bot"})),
    "cctelegram_telegram_updates_unreadable_total": (BRIDGE, frozenset()),
    "http_requests_total": (OURS, frozenset({"method", "handler", "status"})),
    "http_request_duration_seconds_bucket": (OURS, frozenset({"method", "handler", "le"})),
    "http_requests_errors_total": (OURS, frozenset({"method", "handler"})),
    "websocket_connections_total": (frozenset({"dashboard"}), frozenset()),
    "websocket_messages_total": (frozenset({"dashboard"}), frozenset()),
    "websocket_errors_total": (frozenset({"dashboard"}), frozenset()),
    "database_query_duration_seconds_bucket": (BRIDGE | RELAY, frozenset({"operation", "le"})),
    "database_connections_active": (BRIDGE | RELAY, frozenset()),
    "external_api_calls_total": (
        BRIDGE | RELAY | {"mcp-health"},
        frozenset({"provider", "endpoint", "status_code"}),
    ),
    "external_api_duration_seconds_bucket": (
        BRIDGE | RELAY | {"mcp-health"},
        frozenset({"provider", "endpoint", "le"}),
    ),
    "process_cpu_usage_percent": (OURS, frozenset()),
    "event_loop_lag_seconds": (OURS, frozenset()),
    "process_resident_memory_bytes": (OURS, frozenset()),
    "auth_failed_attempts_total": (OURS, frozenset()),
    "auth_probes_refused_total": (OURS, frozenset()),
    "rate_limit_hits_total": (OURS, frozenset()),
    "suspicious_ip_blocks_total": (OURS, frozenset()),
    "http_connections_closed_total": (OURS, frozenset({"cause"})),
    "cctelegram_alerts_received_total": (RELAY, frozenset({"status"})),
    "cctelegram_alerts_unreadable_total": (RELAY, frozenset()),
    "cctelegram_incidents": (RELAY, frozenset({"state"})),
    "cctelegram_notifications_total": (RELAY, frozenset({"channel", "outcome"})),
    "cctelegram_notification_delay_seconds_bucket": (RELAY, frozenset({"le"})),
    "cctelegram_incident_resolve_seconds_bucket": (RELAY, frozenset({"le"})),
    "cctelegram_incident_ack_seconds_bucket": (RELAY, frozenset({"le"})),
    "cctelegram_notifications_held_back_total": (RELAY, frozenset({"cause"})),
    "cctelegram_maintenance_windows": (RELAY, frozenset()),
    "cctelegram_incidents_never_acknowledged_total": (RELAY, frozenset()),
    "cctelegram_escalations_total": (RELAY, frozenset({"level", "outcome"})),
    "cctelegram_fallbacks_total": (RELAY, frozenset({"channel"})),
    "cctelegram_escalations_stuck": (RELAY, frozenset()),
    "cctelegram_alerts_per_incident_bucket": (RELAY, frozenset({"le"})),
    "cctelegram_watchdog_age_seconds": (RELAY, frozenset()),
    "cctelegram_reconcile_age_seconds": (RELAY, frozenset({"cluster"})),
    "cctelegram_alerts_left_out_total": (RELAY, frozenset({"outcome"})),
    "cctelegram_retention_failures_total": (BRIDGE | RELAY, frozenset()),
    "cctelegram_retention_last_success_age_seconds": (BRIDGE | RELAY, frozenset()),
    "compliance_score": (frozenset({"mcp-health"}), frozenset({"standard"})),
    "message_cost_total": (BRIDGE, frozenset({"bot"})),
    "cctelegram_files_stored_bytes": (BRIDGE, frozenset()),
    "cctelegram_file_fetches_total": (BRIDGE, frozenset({"outcome"})),
    "cctelegram_folder_files_total": (BRIDGE, frozenset({"outcome"})),
    "cctelegram_smtp_mails_total": (BRIDGE, frozenset({"outcome"})),
    "daily_active_users": (BRIDGE, frozenset()),
    "monthly_active_users": (BRIDGE, frozenset()),
}

#: Series of the contract that no service exports yet, with the reason.
METRICS_NOT_THERE: dict[str, str] = {
    "messages_processed_total": "use_case is free text of the client; a label needs a fixed list",
    "campaign_performance_score": "there are no campaigns yet",
    "cctelegram_opt_outs_total": "leaving is stored for each chat, but not counted",
    "revenue_generated_total": "no part of the suite sells anything",
}

#: Alerts and their severity.
ALERTS: dict[str, str] = {
    "CCTelegramDown": "critical",
    "LowDeliveryRate": "critical",
    "HighErrorRate": "critical",
    "HighQueueDepth": "warning",
    "HighMemoryUsage": "warning",
    "SlowResponseTime": "warning",
    "HighHTTPErrorRate": "critical",
    "HighLatency": "warning",
    "DatabaseDown": "critical",
    "DatabaseConnectionHigh": "warning",
    "HighCPUUsage": "warning",
    "DiskSpaceLow": "warning",
    "BruteForceAttempt": "critical",
    "SuspiciousActivity": "warning",
    "MessageProcessingBacklog": "critical",
    "MessagesStandStill": "critical",
    "MessagesLate": "warning",
    "NotificationBacklog": "warning",
    "UnknownOutcomes": "warning",
    "TruncatedAlertsMissed": "critical",
    "RetentionFailing": "warning",
    "ExternalAPIFailures": "critical",
    "ComplianceScoreLow": "warning",
    "UnexpectedCostIncrease": "warning",
    "DeadLettersGrowing": "warning",
    "AlertmanagerUnread": "warning",
    "TelegramUpdatesStalled": "warning",
    "NotificationDeliveryFailing": "critical",
    "Watchdog": "none",
    "AvailabilityBudgetBurnFast": "critical",
    "AvailabilityBudgetBurnSlow": "warning",
    "DeliveryBudgetBurnFast": "critical",
    "DeliveryBudgetBurnSlow": "warning",
}

#: Alerts of the contract that cannot fire yet, each with the missing series.
ALERTS_NOT_THERE: dict[str, str] = {
    "LowCampaignPerformance": "campaign_performance_score",
    "HighOptOutRate": "cctelegram_opt_outs_total",
}

RECORDED = frozenset(
    {
        "cctelegram:delivery_success_rate:5m",
        "cctelegram:error_rate:5m",
        "cctelegram:message_duration:p50:5m",
        "cctelegram:message_duration:p95:5m",
        "cctelegram:message_duration:p99:5m",
    }
)
