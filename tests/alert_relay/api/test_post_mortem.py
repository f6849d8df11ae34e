"""The timeline of an incident as Markdown."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay.api.post_mortem import markdown
from services.contracts.incidents import Actor, Episode, IncidentDetail, TimelineEntry
from tests.alert_relay.payloads import START, alert, webhook

AT = "2026-01-01T00:00:00.000Z"


def incident(name: str = "DiskFull", note: str = "The disk is full") -> IncidentDetail:
    ada = Actor(kind="api", name="Ada")
    episode = Episode(
        fingerprint="f",
        state="over",
        ended_by="resolved",
        labels={"alertname": name, "instance": "db-1"},
        annotations={},
        generator_url="",
        starts_at=AT,
        ends_at=AT,
        received_at=AT,
        last_received_at=AT,
    )
    return IncidentDetail(
        id="i",
        state="resolved",
        alertname=name,
        severity="critical",
        group_labels={},
        alertmanager="europe",
        receiver="r",
        opened_at=AT,
        updated_at=AT,
        resolved_at=AT,
        episodes=1,
        firing=0,
        alerts=[episode],
        timeline=[
            TimelineEntry(at=AT, kind="firing", fingerprint="f"),
            TimelineEntry(at=AT, kind="acknowledged", actor=ada),
            TimelineEntry(at=AT, kind="note", actor=ada, detail={"text": note}),
        ],
    )


def test_the_timeline_says_what_happened_when_and_who_did_it() -> None:
    text = markdown(incident())

    assert text.startswith("# DiskFull (critical)\n\n- Incident: `i`\n- Cluster: europe\n")
    assert f"| {AT} | The alert db\\-1 fired |  |\n" in text
    assert f"| {AT} | **Acknowledged** | Ada |\n" in text
    assert f"| {AT} | Note: The disk is full | Ada |\n" in text
    assert text.endswith("## Actions\n")


@given(st.text(max_size=100))
def test_a_name_or_a_note_cannot_pass_for_another_line_or_cell(text: str) -> None:
    lines = markdown(incident(text, text)).splitlines()

    assert len(lines) == len(markdown(incident()).splitlines())
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4}


async def test_the_timeline_is_read_by_the_api(relay: httpx.AsyncClient) -> None:
    await relay.post("/webhook/alert", json=webhook(alert(starts_at=START)))
    (found,) = (await relay.get("/api/v1/incidents")).json()["incidents"]

    answer = await relay.get(f"/api/v1/incidents/{found['id']}/timeline.md")

    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# HighErrorRate (critical)\n")
    assert "| The alert a fired |" in answer.text
    unknown = f"/api/v1/incidents/{'0' * 8}-0000-7000-8000-{'0' * 12}/timeline.md"
    assert (await relay.get(unknown)).status_code == 404
