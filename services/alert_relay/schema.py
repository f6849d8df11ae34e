"""The tables of alert-relay. Times are seconds since the epoch, UTC."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    true,
)

metadata = MetaData()
# SQLite assigns row numbers only to a key of the type INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

# One row for each cluster. Every webhook writes it first: its lock serialises the webhooks of a cluster.
cluster = Table(
    "cluster",
    metadata,
    # Of a cluster that no setting names: the external URL.
    Column("name", Text, primary_key=True),
    Column("created_at", Double, nullable=False),
    # When a webhook was last received; null: never.
    Column("received_at", Double),
    # When the Watchdog alert was last received.
    Column("watchdog_at", Double),
    # The cluster that this external URL belongs to; null: the row is a cluster of its own.
    Column("joined_to", Text, index=True),
    # The API URLs (JSON) that have listed alerts of this cluster, so that a missing alert counts as resolved.
    Column("proven_urls", Text),
)

# The receivers of Alertmanager's configuration that post to this relay.
receiver = Table(
    "receiver",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("received_at", Double, nullable=False),
)

# The Watchdog alerts of a cluster: one for each Prometheus replica, if their labels differ.
heartbeat = Table(
    "heartbeat",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("fingerprint", String(16), primary_key=True),
    Column("labels", Text, nullable=False),  # JSON
    Column("received_at", Double, nullable=False),
)

# Chats that the bridge named, where the settings name none.
recipient = Table("recipient", metadata, Column("chat_id", BigInteger, primary_key=True, autoincrement=False))

# Targets of channels other than Telegram; the id is their chat_id in the outbox.
target = Table(
    "target",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("text", Text, nullable=False, unique=True),
)

# The raw webhooks, one row for each content.
webhook = Table(
    "webhook",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of cluster and body
    Column("cluster", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("status", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("truncated", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("last_received_at", Double, nullable=False),
    Column("deliveries", Integer, nullable=False),
    # When the alerts that it left out were fetched or given up; null while they are still to be fetched.
    Column("asked_at", Double),
    Index("webhook_heard", "last_received_at"),
)
_left_out = (webhook.c.truncated > 0) & webhook.c.asked_at.is_(None)
Index(
    "webhook_left_out",
    webhook.c.cluster,
    webhook.c.group_key,
    sqlite_where=_left_out,
    postgresql_where=_left_out,
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(36), primary_key=True),
    # SHA-256 of what its episodes share: cluster, alert name and group labels.
    Column("key", String(64), nullable=False),
    Column("cluster", Text, nullable=False),
    Column("alertname", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("group_labels", Text, nullable=False),  # JSON
    Column("group_key", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("external_url", Text, nullable=False, server_default=""),
    Column("state", String(12), nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("resolved_at", Double),
    # It grows with each change.
    Column("version", Integer, nullable=False, server_default="1"),
    Column("resolved_by", Text),  # JSON, of the person; null: its alerts ended
    Column("acknowledged_by", Text),  # JSON, as `actor` of an entry
    Column("acknowledged_at", Double),
    # When it was first acknowledged; it stays when the acknowledgement is taken back.
    Column("first_acknowledged_at", Double),
    # How often it fired again after it had resolved.
    Column("reopened", Integer, nullable=False, server_default="0"),
    # How often it did so since it was last stable.
    Column("flaps", Integer, nullable=False, server_default="0"),
    # The name of its escalation policy; null: none.
    Column("policy", Text),
    # The level of escalation that was reached, from 0, and how often all levels were gone through before.
    Column("level", Integer, nullable=False, server_default="0"),
    Column("round", Integer, nullable=False, server_default="0"),
    # Since when its levels are counted: since its first notification, or since it needs a person again.
    Column("escalates_from", Double),
    # Incidents that opened at once and have one message together; null: it has a message of its own.
    Column("storm_id", String(36), index=True),
    Index("incident_state", "state", "id"),
    Index("incident_opened", "cluster", "opened_at"),
    Index("incident_resolved", "resolved_at"),
)
Index(
    "incident_open",
    incident.c.key,
    unique=True,
    sqlite_where=incident.c.resolved_at.is_(None),
    postgresql_where=incident.c.resolved_at.is_(None),
)

episode = Table(
    "episode",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("incident_id", String(36), ForeignKey("incident.id"), nullable=False, index=True),
    Column("cluster", Text, nullable=False),
    Column("fingerprint", String(16), nullable=False),
    # Whether it is the newest episode of its alert, open or closed.
    Column("newest", Boolean, nullable=False),
    Column("labels", Text, nullable=False),  # JSON
    Column("annotations", Text, nullable=False),  # JSON
    Column("generator_url", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("heard_at", Double, nullable=False),
    Column("ended_at", Double),  # Alertmanager's time
    Column("closed_at", Double),
    # How it ended; null while it is open.
    Column("ended_by", String(12)),
    # When people were last notified that it fires; null: never, since it was silenced or inhibited.
    Column("notified_at", Double),
    # When Alertmanager's API was first found without the alert, which may have resolved; null: it has it.
    Column("suspect_at", Double),
    # Whether Alertmanager's API had it as silenced or inhibited.
    Column("suppressed", Boolean, nullable=False, server_default=false()),
)
Index(
    "episode_newest",
    episode.c.cluster,
    episode.c.fingerprint,
    unique=True,
    sqlite_where=episode.c.newest == true(),
    postgresql_where=episode.c.newest == true(),
)

# The timeline of an incident, without its notifications: those are in `notification` and the outbox.
entry = Table(
    "entry",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("incident_id", String(36), ForeignKey("incident.id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("kind", String(16), nullable=False),
    # Who or what did it, JSON: kind, name, user_id; null in entries of older versions.
    Column("actor", Text),
    Column("fingerprint", String(16)),
    Column("detail", Text, nullable=False),  # JSON
)

# The notifications of an incident. The id is the id of the outbox event.
notification = Table(
    "notification",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True, index=True),
    Column("channel", Text, nullable=False),  # comma list
    Column("kinds", Text, nullable=False),  # comma list
    Column("purpose", String(8)),  # null in those of older versions
    Column("at", Double, nullable=False),
)

# The targets that get the notifications of an incident.
audience = Table(
    "audience",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("target", Text, primary_key=True),
    # Of escalation; 0: it is notified at once.
    Column("level", Integer, nullable=False),
    Column("added_at", Double, nullable=False),
    # The event of its first message; null: it has no message of its own yet.
    Column("first_event", String(36)),
    # The storm whose message shows the incident to it.
    Column("storm_id", String(36), index=True),
)

# What is to be done with an incident later. A timer that is set again replaces the earlier one.
timer = Table(
    "timer",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    # When it was set: the clock may be put back meanwhile.
    Column("set_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Index("timer_due", "due_at"),
)

# Maintenance windows: people are not notified of the alerts that they match.
maintenance_window = Table(
    "maintenance_window",
    metadata,
    Column("id", String(36), primary_key=True),
    # The Idempotency-Key of the request that made it, and the SHA-256 of its content.
    Column("request_key", Text, unique=True),
    Column("digest", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("matchers", Text, nullable=False),  # JSON, a list of texts in Alertmanager's syntax
    Column("cluster", Text, nullable=False),  # empty: all
    # Of the occurrence that is active or next; of an ended window of the last one.
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("rule", Text, nullable=False),  # RRULE; empty: it does not recur
    Column("zone", Text, nullable=False),
    Column("first_starts_at", Double, nullable=False),
    Column("spares_urgent", Boolean, nullable=False),
    Column("created_by", Text, nullable=False),  # JSON, as `actor` of an entry
    Column("reason", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Index("maintenance_window_ended", "ended_at", "ends_at"),
)

# When people last got a notification with a sound of an incident.
last_sound = Table(
    "last_sound",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("severity", Text, nullable=False),
    # Whether it said that the incident is resolved.
    Column("resolved", Boolean, nullable=False),
    # Notifications that were held back since.
    Column("held_back", Integer, nullable=False),
)

# The weekly digests that were sent.
weekly_digest = Table(
    "weekly_digest",
    metadata,
    # The end of its week, seconds since the epoch.
    Column("until", Double, primary_key=True),
    Column("sent_at", Double, nullable=False),
)
