from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications import render
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    NotifiedIncident,
    Purpose,
)
from services.outbox.messages import Text
from services.outbox.telegram.text import MESSAGE_LIMIT, parts_of, utf16_length
from tests.alert_relay.payloads import START

#: Its host has a dot, which Telegram requires of a link.
CLUSTER = "http://alertmanager.example:9093"
ITEM = NotifiedAlert(
    kind=NotificationKind.FIRING,
    fingerprint="04d3c300bdb08404",
    name="HighErrorRate",
    severity="critical",
    labels={"alertname": "HighErrorRate", "severity": "critical", "service": "bridge", "instance": "b1"},
    annotations={
        "summary": "Errors on b1",
        "description": "More than <1/s> & rising.",
        "runbook_url": "https://runbooks.example/errors",
    },
    generator_url="http://prometheus.example:9090/graph",
    since=START,
    ended_at=None,
)


def notification(*items: NotifiedAlert, still_firing: int = 0, truncated: int = 0) -> Notification:
    return Notification(Urgency.LOUD, items, still_firing, truncated, CLUSTER)


def entities(text: Text, kind: str) -> list[str]:
    """Returns the texts under the entities of a kind; offsets are UTF-16 code units."""
    units = text.text.encode("utf-16-le")
    return [
        units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le")
        for e in text.entities
        if e["type"] == kind
    ]


def test_a_firing_alert_reads_as_a_person_would_tell_it() -> None:
    text = render.text_of(notification(ITEM))

    assert text.text == (
        "🔥 HighErrorRate (critical)\n"
        "Errors on b1\n"
        "More than <1/s> & rising.\n"
        "service=bridge instance=b1\n"
        "since 2026-01-01 00:00:00 UTC\n"
        "Runbook · Source · Silence"
    )
    assert entities(text, "bold") == ["HighErrorRate (critical)"]
    assert entities(text, "code") == ["service=bridge instance=b1"]
    assert links(text)[:-1] == ["https://runbooks.example/errors", "http://prometheus.example:9090/graph"]


def links(text: Text) -> list[str]:
    return [e["url"] for e in text.entities if e["type"] == "text_link"]


def test_the_silence_link_opens_the_form_for_this_very_alert() -> None:
    odd = {"alertname": "HighErrorRate", "path": 'C:\\x "y"\nz & {a}'}
    url = urlsplit(links(render.text_of(notification(replace(ITEM, labels=odd))))[-1])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{CLUSTER}/"
    form, _, query = url.fragment.partition("?")
    assert form == "/silences/new"
    written = unquote(query.removeprefix("filter="))
    assert written == '{alertname="HighErrorRate",path="C:\\\\x \\"y\\"\\nz & {a}"}'


def test_what_is_over_or_too_long_to_link_has_no_silence_link() -> None:
    over = replace(ITEM, kind=NotificationKind.RESOLVED, ended_at=START + 1)
    long = replace(ITEM, labels={"alertname": "x" * 3_000})
    for item in (over, long):
        assert not any("silences" in url for url in links(render.text_of(notification(item))))


def test_a_dashboard_of_the_annotations_is_linked() -> None:
    annotated = replace(
        ITEM, annotations={**ITEM.annotations, "dashboard_url": "https://grafana.example/d/1"}
    )
    assert "https://grafana.example/d/1" in links(render.text_of(notification(annotated)))


def test_a_resolution_says_how_long_it_lasted() -> None:
    text = render.text_of(notification(replace(ITEM, kind=NotificationKind.RESOLVED, ended_at=START + 3_725)))

    assert text.text.startswith("✅ HighErrorRate (critical) resolved\n")
    assert "2026-01-01 00:00:00 UTC to 2026-01-01 01:02:05 UTC, 1 h 2 min" in text.text


def test_a_repeat_says_since_when_it_still_fires() -> None:
    text = render.text_of(notification(replace(ITEM, kind=NotificationKind.REPEATED)))

    assert text.text.startswith("🔥 HighErrorRate (critical) still firing since 2026-01-01 00:00:00 UTC\n")


def test_several_alerts_stand_under_one_heading() -> None:
    over = replace(ITEM, kind=NotificationKind.RESOLVED, ended_at=START + 60)

    text = render.text_of(notification(ITEM, ITEM, over))

    assert text.text.startswith("🔥 2 firing, ✅ 1 resolved\n\n🔥 HighErrorRate")


def test_a_storm_gets_one_line_for_each_alert() -> None:
    text = render.text_of(notification(*[ITEM] * 30))

    assert text.text.splitlines() == ["🔥 30 firing", *["🔥 HighErrorRate (critical): Errors on b1"] * 30]


def test_what_else_fires_and_what_was_cut_off_is_said() -> None:
    text = render.text_of(notification(ITEM, still_firing=1, truncated=3))

    assert "1 more of this group is firing as before." in text.text
    assert text.text.endswith("3 more are not listed (max_alerts): see Alertmanager")


def test_what_could_not_be_read_is_said_below_the_others_and_alone() -> None:
    faults = tuple(f"alerts[{number}].startsAt: write a time" for number in range(7))
    beside = render.text_of(replace(notification(ITEM), unreadable=faults[:1])).text
    alone = render.text_of(replace(notification(), unreadable=faults)).text

    assert "\n\n⚠️ 1 alert could not be read\nalerts[0].startsAt: write a time\n" in beside
    assert alone.startswith("⚠️ 7 alerts could not be read\nalerts[0].startsAt")
    assert "and 2 more" in alone


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\v", "\x85", "\u2028", "\u2029", "\x00"])
def test_a_label_cannot_look_like_another_alert(ending: str) -> None:
    forged = f"x{ending}✅ Other (critical) resolved"
    labels = {"alertname": forged, f"a{ending}b": forged}
    alert = replace(ITEM, name=forged, severity=forged, labels=labels)

    for shown in (notification(alert), notification(*[replace(alert, annotations={"summary": forged})] * 9)):
        lines = render.text_of(shown).text.splitlines()
        assert not [line for line in lines if line.startswith("✅")]


@pytest.mark.parametrize("mark", list("\u202e\u202b\u2066\u2067\u200f\u061c"))
def test_no_character_turns_the_direction_of_an_alert(mark: str) -> None:
    turned = f"db{mark}gnp.exe"
    alert = replace(
        ITEM, name=turned, severity=turned, labels={"host": turned}, annotations={"summary": turned}
    )

    assert mark not in render.text_of(notification(alert)).text


def test_a_severity_is_cut() -> None:
    assert len(render.text_of(notification(replace(ITEM, severity="x" * 5_000))).text) < 1_000


def test_a_runbook_that_is_no_url_is_shown_as_it_stands() -> None:
    relative = replace(ITEM, annotations={"runbook_url": "docs/runbook.md#higherrorrate"}, generator_url="")

    assert render.text_of(notification(relative)).text.endswith(
        "\nSilence\nRunbook: docs/runbook.md#higherrorrate"
    )


def test_urls_that_telegram_refuses_in_links_are_written_out() -> None:
    """Those of a Prometheus and an Alertmanager without a domain, as the compose file starts them."""
    annotated = replace(
        ITEM,
        annotations={"runbook_url": "https://wiki/errors", "dashboard_url": "https://grafana.example/d/1"},
        generator_url="http://localhost:9090/graph?g0.expr=up",
        labels={"alertname": "HighErrorRate"},
    )
    group = replace(notification(annotated, truncated=1), external_url="http://localhost:9093")
    text = render.text_of(group)

    assert links(text) == ["https://grafana.example/d/1"]
    assert text.text.endswith(
        "\nDashboard"
        "\nRunbook: https://wiki/errors"
        "\nSource: http://localhost:9090/graph?g0.expr=up"
        "\nSilence: http://localhost:9093/#/silences/new?filter=%7Balertname%3D%22HighErrorRate%22%7D"
        "\n\n1 more is not listed (max_alerts): see Alertmanager (http://localhost:9093)"
    )


def test_an_endless_url_does_not_crowd_out_the_rest() -> None:
    endless = replace(ITEM, annotations={"runbook_url": "http://wiki/" + "x" * 100_000})

    assert len(render.text_of(notification(endless, ITEM)).text) < MESSAGE_LIMIT


def test_an_alert_with_nothing_but_its_existence_is_told() -> None:
    bare = NotifiedAlert(NotificationKind.FIRING, "f" * 16, "", "", {}, {}, "", START, None)

    assert render.text_of(notification(bare)).text == "🔥 Alert\nsince 2026-01-01 00:00:00 UTC"


def test_one_endless_annotation_does_not_crowd_out_the_rest() -> None:
    endless = replace(ITEM, annotations={"summary": "x" * 100_000})

    text = render.text_of(notification(endless, ITEM))

    assert len(text.text) < MESSAGE_LIMIT
    assert "Errors on b1" in text.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (86_400 + 7_200 + 5, "1 d 2 h"), (-5, "0 s")],
)
def test_a_duration_is_told_by_its_two_largest_units(seconds: float, words: str) -> None:
    item = replace(ITEM, kind=NotificationKind.RESOLVED, ended_at=START + seconds)

    assert f", {words}" in render.text_of(notification(item)).text


anything = st.text(max_size=50)
items = st.builds(
    NotifiedAlert,
    kind=st.sampled_from(NotificationKind),
    fingerprint=st.just("0" * 16),
    name=anything,
    severity=anything,
    labels=st.dictionaries(anything, anything, max_size=4),
    annotations=st.dictionaries(st.sampled_from(["summary", "description", "runbook"]), anything),
    generator_url=anything,
    since=st.floats(-1e11, 1e12),
    ended_at=st.none() | st.floats(-1e11, 1e12),
)


@given(st.lists(items, min_size=1, max_size=12))
def test_whatever_an_alert_says_it_can_be_sent(listed: list[NotifiedAlert]) -> None:
    text = render.text_of(notification(*listed))

    assert text.text.strip()
    assert all(
        e["length"] > 0 and e["offset"] + e["length"] <= utf16_length(text.text) for e in text.entities
    )
    assert parts_of(text, "alerts.txt")


INCIDENT = NotifiedIncident("i", 1, "HighErrorRate", "critical", 1)


def message(*items: NotifiedAlert, **changes: object) -> Notification:
    """An incident's own message."""
    firing = sum(each.kind is NotificationKind.FIRING for each in items)
    about = replace(INCIDENT, firing=firing, **changes)  # type: ignore[arg-type]
    return Notification(
        Urgency.LOUD, items, 0, 0, CLUSTER, cluster="europe", purpose=Purpose.CHANGED, incident=about
    )


def news(*items: NotifiedAlert, **changes: object) -> Notification:
    return replace(message(*items, **changes), purpose=Purpose.NEWS)


def resolved(instance: str, seconds: float) -> NotifiedAlert:
    labels = ITEM.labels | {"instance": instance}  # type: ignore[operator]
    return replace(ITEM, kind=NotificationKind.RESOLVED, labels=labels, ended_at=START + seconds)


def test_an_incidents_message_says_who_handles_it_and_how_often_it_was_reopened() -> None:
    text = render.text_of(message(ITEM, acknowledged_by="Ada", acknowledged_at=START + 60, reopened=3)).text

    assert text.endswith("\n\n👤 Acknowledged by Ada, 2026-01-01 00:01:00 UTC\n\n🔁 Reopened 3 times")


def test_an_incidents_message_counts_its_alerts_under_its_name() -> None:
    text = render.text_of(message(ITEM, resolved("b2", 60))).text

    assert text.startswith("🔥 HighErrorRate (critical): 1 firing, 1 resolved · europe\n\n")


def test_the_end_of_an_incident_is_one_line_with_its_duration() -> None:
    assert render.text_of(news(resolved("b1", 300))).text == (
        "✅ HighErrorRate (critical) resolved after 5 min · europe"
    )


def test_the_end_of_several_alerts_lists_them_briefly() -> None:
    text = render.text_of(news(resolved("b1", 60), resolved("b2", 300))).text

    assert text == (
        "✅ HighErrorRate (critical) resolved after 5 min · europe\n"
        "✅ HighErrorRate (critical) resolved: Errors on b1\n"
        "✅ HighErrorRate (critical) resolved: Errors on b1"
    )


def test_an_incident_that_a_person_resolved_says_who() -> None:
    text = render.text_of(news(resolved_by="Ada\nLovelace", resolved_at=START + 60)).text

    assert text == "✅ HighErrorRate (critical) resolved · europe\n\n👤 Resolved by Ada Lovelace"


def test_the_last_news_of_a_flapping_incident_says_that_no_more_will_come() -> None:
    assert render.text_of(news(ITEM, reopened=2)).text.endswith(
        "🔁 Reopened 2 times. If it goes on like this, only the first message changes."
    )


@pytest.mark.parametrize("number", [1, 2, 5, 9, 41, 60])
@pytest.mark.parametrize("length", [1, 300, 5_000])
def test_an_incidents_message_is_one_message_of_telegram_whatever_its_alerts(
    number: int, length: int
) -> None:
    """Telegram can edit one message into one message."""
    labels = {f"label_{each}": "x" * length for each in range(300)}
    annotations = dict.fromkeys(("summary", "message", "description"), "🔥" * length)
    items = [replace(ITEM, labels=labels, annotations=annotations)] * number

    (part,) = parts_of(render.text_of(message(*items)), "alerts.txt")

    assert isinstance(part, Text)
    assert number == 1 or f"{number} firing" in part.text
