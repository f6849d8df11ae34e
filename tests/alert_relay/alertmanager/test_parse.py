from typing import Any

import pytest
from pydantic import ValidationError

from services.alert_relay.alertmanager import parse
from services.contracts.alertmanager import Webhook
from services.kit.clock import rfc3339
from tests.alert_relay import payloads
from tests.alert_relay.payloads import START, alert, webhook

MISSING = "this field is missing"


@pytest.mark.parametrize("path", sorted(payloads.RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_what_a_real_alertmanager_sent_is_read(path: Any) -> None:
    group = payloads.alert_group(payloads.recorded(path.stem))

    assert group.receiver == "team-a.telegram+x"
    assert all(each.ends_at is None or each.ends_at > each.starts_at for each in group.alerts)
    assert all(each.firing == (each.ends_at is None) for each in group.alerts)


def test_the_number_of_alerts_that_were_cut_off_is_read() -> None:
    assert payloads.alert_group(payloads.recorded("truncated")).truncated == 3


def test_fields_of_later_versions_are_known_or_ignored() -> None:
    later = webhook(
        alert(), notification_reason="repeat interval elapsed", routeLabels={"team": "a"}, new=[1]
    )

    assert payloads.alert_group(later).reason == "repeat interval elapsed"


@pytest.mark.parametrize(
    "field",
    [
        "version",
        "groupKey",
        "status",
        "receiver",
        "externalURL",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "alerts",
    ],
)
def test_a_missing_field_is_named(field: str) -> None:
    payload = webhook(alert())
    del payload[field]

    with pytest.raises(ValidationError, match=field):
        Webhook.model_validate(payload)


@pytest.mark.parametrize(
    ("listed", "fault"),
    [
        *(
            (
                {name: value for name, value in alert().items() if name != field},
                f".{field}: this field is missing",
            )
            for field in ("status", "labels", "startsAt")
        ),
        (alert() | {"startsAt": "yesterday"}, ".startsAt: write a time as text, RFC 3339, such as"),
        (alert() | {"startsAt": "2026-01-01T00:00:00"}, ".startsAt: the time has no zone"),
        (alert() | {"startsAt": 1_767_225_600}, ".startsAt: write a time"),
        (alert() | {"status": "suppressed"}, ".status: write 'firing' or 'resolved'"),
        (alert() | {"labels": ["alertname"]}, ".labels: write an object"),
        (alert() | {"labels": {"alertname": ["a"]}}, ".labels: write a text"),
        ("HighErrorRate", ": write an object"),
        (None, ": write an object"),
    ],
)
def test_an_alert_that_cannot_be_read_is_left_out_alone_and_its_fault_is_named(
    listed: Any, fault: str
) -> None:
    read = Webhook.model_validate(
        webhook(alert("a"), alert("b")) | {"alerts": [alert("a"), listed, alert("b")]}
    )

    assert [each.labels["instance"] for each in read.alerts] == ["a", "b"]
    (found,) = read.unreadable
    assert found.startswith(f"alerts[1]{fault}")


@pytest.mark.parametrize("field", ["annotations", "endsAt", "generatorURL", "fingerprint"])
@pytest.mark.parametrize("absent", [False, True])
def test_an_alert_needs_only_what_makes_it_one(field: str, absent: bool) -> None:
    listed = alert() | {field: None}
    if absent:
        del listed[field]
    (read,) = payloads.alert_group(webhook(alert()) | {"alerts": [listed]}).alerts

    assert (read.name, read.firing, read.ends_at) == ("HighErrorRate", True, None)


def test_values_of_labels_are_read_as_texts() -> None:
    labels = {"alertname": "Load", "cpu": 3, "share": 0.5, "spare": True, "zone": None}
    (read,) = payloads.alert_group(webhook(alert() | {"labels": labels})).alerts

    assert read.labels == {"alertname": "Load", "cpu": "3", "share": "0.5", "spare": "true", "zone": ""}


@pytest.mark.parametrize("path", sorted(payloads.RECORDED.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("wrong", [None, "not hex", 7])
def test_a_missing_fingerprint_is_computed_as_alertmanager_does(path: Any, wrong: Any) -> None:
    recorded = payloads.recorded(path.stem)
    without = recorded | {"alerts": [each | {"fingerprint": wrong} for each in recorded["alerts"]]}

    assert [each.fingerprint for each in payloads.alert_group(without).alerts] == [
        each["fingerprint"] for each in recorded["alerts"]
    ]


def test_groups_without_labels_may_say_null() -> None:
    assert payloads.alert_group(webhook(alert(), groupLabels=None)).group_labels == {}


def test_another_version_of_the_payload_is_refused() -> None:
    with pytest.raises(ValidationError, match="version"):
        Webhook.model_validate(webhook(alert(), version="5"))


def test_nanoseconds_are_read() -> None:
    listed = alert() | {"startsAt": "2026-01-01T00:00:00.123456789Z"}

    assert payloads.alert_group(webhook(listed)).alerts[0].starts_at == pytest.approx(START + 0.123456)


def test_a_resolution_without_an_end_ends_now() -> None:
    listed = alert(ends_at=START) | {"endsAt": "0001-01-01T00:00:00Z"}

    assert payloads.alert_group(webhook(listed), now=START + 77).alerts[0].ends_at == START + 77


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"])
def test_a_time_at_the_end_of_time_can_be_written_again(moment: str) -> None:
    listed = alert() | {"startsAt": moment}

    assert rfc3339(payloads.alert_group(webhook(listed)).alerts[0].starts_at)


def test_a_nul_in_a_label_becomes_what_every_database_stores() -> None:
    listed = alert() | {"labels": {"alertname": "a\x00b"}}

    assert payloads.alert_group(webhook(listed)).alerts[0].name == "a\N{REPLACEMENT CHARACTER}b"


def test_the_domain_sees_the_cluster_that_it_was_given() -> None:
    read = Webhook.model_validate(webhook(alert()))

    assert parse.alert_group(read, "the cluster", START).cluster == "the cluster"
