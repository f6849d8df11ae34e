"""Each command against a running suite: what it prints, and its exit code."""

import csv
import json
import re
from pathlib import Path

import pytest

from services.cli.command import EXAMPLES
from services.cli.exit_codes import ExitCode
from tests.cli.terminal import Chats, Terminal, fire
from tests.services.suite import Suite

pytestmark = pytest.mark.xdist_group("cli")

ADA, GRACE, GONE = 1001, 1002, 424_242
AN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


# Send


def test_send_prints_the_id_of_each_message(cct: Terminal, chats: Chats) -> None:
    done = cct.ok("send", "Build 7", "All green", "--chat", str(ADA), "--chat", str(GRACE))
    assert len(done.lines) == 2
    assert all(AN_ID.fullmatch(line) for line in done.lines)
    waited = cct.ok("send", "Build 8", "All green", "--source", "ci", "--wait")
    assert waited.cells[0][1:] == ["delivered", str(ADA), ""]
    assert any("Build 8" in message.get("text", "") for message in chats.messages(ADA))


def test_send_reads_the_text_from_a_pipe(cct: Terminal, chats: Chats) -> None:
    cct.ok("send", "Tests", "-", "--wait", text="214 passed\n0 failed\n")
    assert any("214 passed\n0 failed" in message.get("text", "") for message in chats.messages(ADA))


def test_send_takes_details_of_its_type(cct: Terminal) -> None:
    wanted = [
        "--data",
        "commit_hash=9fceb02d0ae5",
        "--data",
        "commit_message=Round once",
        "--data",
        "files_changed=3",
    ]
    message_id = cct.ok("send", "Commit", "--type", "git_commit", *wanted).lines[0]
    body = json.loads(cct.ok("message", message_id, "--json").json["body"])
    assert body["data"] == {
        "commit_hash": "9fceb02d0ae5",
        "commit_message": "Round once",
        "files_changed": 3,
    }


def test_send_attaches_files_of_this_machine(cct: Terminal, chats: Chats, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("214 passed")
    (tmp_path / "log.txt").write_text("no warning")
    files = ("--attach", str(tmp_path / "report.txt"), "--attach", str(tmp_path / "log.txt"))
    cct.ok("send", "Report with files", *files, "--chat", str(ADA), "--wait")
    shown = [message for message in chats.messages(ADA) if message.get("document")][-2:]
    assert [message["document"]["file_name"] for message in shown] == ["report.txt", "log.txt"]
    assert "Report with files" in shown[0]["caption"]


def test_a_file_that_cannot_be_read_is_named_before_anything_is_sent(cct: Terminal, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    for name, reason in (("missing.txt", "No such file or directory"), ("empty.txt", "the file is empty")):
        done = cct.run("send", "Report", "--attach", str(tmp_path / name))
        assert done.code == ExitCode.NO_RESULT
        assert f"--attach {tmp_path / name}: {reason}" in done.error
    done = cct.run("send", "Report", *["--attach", "http://ci.example/a.png"] * 11)
    assert "at most 10 files, not 11" in done.error


def test_send_with_a_dedup_key_counts_repeats_at_the_first_message(cct: Terminal) -> None:
    words = ("send", "Disk full", "--dedup-key", "disk-of-this-test", "--dedup-window", "10m")
    first, second = cct.ok(*words), cct.ok(*words)
    assert second.out == first.out
    assert "Not sent: it is repeat 1 of this message." in second.error
    assert cct.ok(*words, "--json").json["repeats"] == 2


def test_send_to_a_digest_waits_for_the_others(cct: Terminal) -> None:
    words = ("send", "Unit tests", "--digest", "nightly-of-this-test", "--digest-window", "1h")
    ids = [cct.ok(*words).out.strip() for _ in range(2)]
    shown = cct.ok("message", ids[0], "--json").json
    assert (shown["status"], shown["digest"]["members"]) == ("queued", ids)


def test_send_with_a_key_sends_once(cct: Terminal) -> None:
    words = ("send", "Once", "--idempotency-key", "once-1")
    assert cct.ok(*words).out == cct.ok(*words).out


def test_send_says_by_its_exit_code_whether_it_arrived(cct: Terminal) -> None:
    failed = cct.run("send", "Lost", "--chat", str(GONE), "--wait")
    assert (failed.code, failed.cells[0][1:]) == (ExitCode.NO, ["dead_letter", str(GONE), "chat_not_found"])
    late = cct.run("send", "Later", "--at", "1h", "--wait", "--timeout", "0.1s", "--json")
    assert late.code == ExitCode.NO_RESULT
    assert late.json[0]["status"] == "queued"
    cancelled = cct.ok("cancel", late.json[0]["id"], "--why", "a test")
    assert cancelled.cells == [[late.json[0]["id"], "cancelled"]]
    again = cct.run("cancel", late.json[0]["id"])
    assert again.code == ExitCode.NO
    assert "It is cancelled." in again.error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("send", ""), "title: it is empty"),
        (("send", "x", "--type", "git_commit"), "--data commit_hash: the type git_commit needs it"),
        (("send", "x", "--bot", "nobody"), "--bot: no bot has this name"),
        (("message", "no-such-id"), "Not Found (404): No message has this ID."),
        (("keys", "revoke", "nobody"), "no active key has the id or the name nobody"),
        (("messages", "--chat", "Kitchen"), "--chat: no chat has this name"),
        (("chats", "set", "1001", "--zone", "Mars/Olympus"), "--zone: this is no IANA time zone"),
        (("event-types", "--category", "odd"), "--category: write 'task', "),
        (("send", "x", "--chat", "1001", "--chat", "Kitchen"), "--chat (value 2): no chat has this name"),
        (("send", "x", "--preview", "perhaps"), "--preview url: write a URL"),
        (("ask", "x", "--chat", "1001", "--needed", "9"), "--needed: write at most 2: "),
    ],
)
def test_what_is_refused_is_one_line_that_names_the_field(
    cct: Terminal, words: tuple[str, ...], error: str
) -> None:
    done = cct.run(*words)
    assert (done.code, done.out) == (ExitCode.REFUSED, "")
    (line,) = done.error.splitlines()
    assert line.startswith("cct: ")
    assert error in line


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("send", "x", "--data", "pair"), "--data: write NAME=VALUE, not pair"),
        (("send", "x", "--at", "soon"), "--at: write a time such as 2h"),
        (("send", "x", "--wait", "--timeout", "1"), "--timeout: write a duration such as 90s"),
        (("messages", "--status", "lost"), "--status: lost is none of queued, sending"),
        (("messages", "--since", "yesterday"), "--since: write a time such as 2h"),
        (("replay",), "give ids of messages, or --dead-letters"),
        (("replay", "id", "--dead-letters"), "give ids of messages, or --dead-letters"),
        (("replay", "id", "--chat", "1"), "conditions are for --dead-letters"),
        (("chats", "set", "1001", "--quiet-hours", "22"), "--quiet-hours: write FROM-TO"),
        (("export", "--output", "/no/such/folder/file"), "--output: cannot write /no/such/folder/file"),
        (("send", "x", "--format", "rtf"), "'--format': 'rtf' is not one of 'plain', 'markdown', 'html'."),
        (("send", "x", "--thread", "CI"), "'--thread': write a whole number"),
        (("send",), "Missing argument 'title'"),
        (("sned",), "Did you mean 'send'?"),
    ],
)
def test_wrong_usage_says_what_to_write(cct: Terminal, words: tuple[str, ...], error: str) -> None:
    done = cct.run(*words)
    assert (done.code, done.out) == (ExitCode.NO_RESULT, "")
    assert error in done.error


# Ask


@pytest.mark.parametrize(
    ("options", "label", "ends"),
    [
        ((), "Approve", ("approve\n", ExitCode.DONE)),
        ((), "Deny", ("deny\n", ExitCode.NO)),
        (("-o", "Yes", "-o", "Later", "-o", "No"), "Yes", ("Yes\n", ExitCode.DONE)),
        (("-o", "Yes", "-o", "Later", "-o", "No"), "Later", ("Later\n", ExitCode.NO)),
    ],
)
def test_ask_prints_the_answer_and_its_exit_code_is_the_answer(
    cct: Terminal, chats: Chats, options: tuple[str, ...], label: str, ends: tuple[str, int]
) -> None:
    title = f"Deploy {label} {len(options)}?"
    with chats.answering(ADA, title, label):
        done = cct.run("ask", title, *options)
    assert (done.out, done.code) == ends
    assert "Decided by Ada" in done.error


def test_ask_waits_until_so_many_people_agree_and_names_them(cct: Terminal, chats: Chats) -> None:
    title = "Delete it?"
    with chats.answering(ADA, title, "Approve"), chats.answering(GRACE, title, "Approve"):
        done = cct.run("ask", title, "--chat", str(ADA), "--chat", str(GRACE), "--needed", "2")
    assert (done.out, done.code) == ("approve\n", ExitCode.DONE)
    assert "Ada" in done.error
    assert "Grace" in done.error


def test_ask_without_an_answer_has_a_code_of_its_own(cct: Terminal, suite: Suite) -> None:
    expired = cct.run("ask", "Will anybody answer?", "--expires", "5s")
    assert (expired.code, expired.out) == (ExitCode.NO_RESULT, "expired\n")


def test_ask_ends_at_once_if_no_chat_shows_the_question(cct: Terminal) -> None:
    done = cct.run("ask", "Is anybody there?", "--chat", str(GONE), "--approver", str(ADA))
    assert (done.code, done.out) == (ExitCode.NO_RESULT, "undelivered\n")
    assert f"Chat {GONE} does not show it: chat_not_found" in done.error


def test_ask_can_go_on_without_waiting(cct: Terminal) -> None:
    words = ("ask", "Deploy at night?", "make deploy", "--no-wait", "--idempotency-key", "night")
    asked = cct.ok(*words)
    assert AN_ID.fullmatch(asked.lines[0])
    assert cct.ok(*words, "--json").json["id"] == asked.lines[0]


# Messages


def test_messages_are_found_by_all_conditions(cct: Terminal) -> None:
    cct.ok("send", "Needle in a haystack", "--correlation-id", "order-4711", "--wait")
    conditions = ("--title", "needle", "--status", "delivered", "--chat", str(ADA), "--since", "1h")
    done = cct.ok("messages", *conditions, "--correlation-id", "order-4711", "--type", "info_notification")
    (row,) = done.cells
    assert row[2:] == ["delivered", str(ADA), "info_notification", "Needle in a haystack"]
    assert cct.ok("messages", "--title", "needle", "--until", "1h").cells == []
    assert len(cct.ok("messages", "--json", "-n", "1").json) == 1


def test_a_message_s_life_is_drawn(cct: Terminal) -> None:
    message_id = cct.ok("send", "Drawn", "--source", "ci", "--wait", "--json").json[0]["id"]
    title, facts, ids, empty, *rows = cct.ok("message", message_id).lines
    assert re.fullmatch(r"Drawn  delivered after .+", title)
    assert facts == f"info_notification · ci · low · chat {ADA}"
    assert ids.startswith("event ")
    assert empty == ""
    names = [row.split()[1] for row in rows]
    assert names == ["queued", "sending", "attempt", "delivered"]
    assert all("─" in row or "█" in row for row in rows)


def test_dead_letters_are_listed_and_replayed(cct: Terminal) -> None:
    lost = cct.run("send", "Lost twice", "--chat", str(GONE), "--wait", "--json").json[0]["id"]
    listed = cct.ok("dead-letters", "--reason", "chat_not_found", "--title", "Lost twice")
    assert listed.cells[0][0] == lost
    assert listed.cells[0][3] == "chat_not_found"
    assert "cct replay" in listed.error
    assert cct.ok("replay", lost, "--why", "the chat is back").cells == [[lost, "queued"]]
    cct.ok("send", "Behind it", "--chat", str(ADA), "--wait")
    done = cct.ok("replay", "--dead-letters", "--title", "Lost twice", "-q")
    assert re.fullmatch(r"[01] of [01] messages replayed", done.lines[0])
    job = cct.ok("replay", "--dead-letters", "--title", "no such title", "--json").json
    assert (job["status"], job["progress"]["total"]) == ("done", 0)


@pytest.mark.parametrize("to_file", [True, False])
def test_messages_are_exported(cct: Terminal, tmp_path: Path, to_file: bool) -> None:
    cct.ok("send", 'Export, "quoted"\tand ünïcode', "--wait")
    file = tmp_path / "messages"
    words = ("export", "--title", "Export,", "--since", "1h", *(("--output", str(file)) if to_file else ()))
    done = cct.ok(*words)
    text = file.read_text() if to_file else done.out
    assert json.loads(text.splitlines()[0])["title"] == 'Export, "quoted"\tand ünïcode'
    done = cct.ok(*words, "--format", "csv")
    rows = list(csv.DictReader((file.read_text() if to_file else done.out).splitlines()))
    assert rows[0]["title"] == 'Export, "quoted"\tand ünïcode'
    assert rows[0]["status"] == "delivered"
    assert re.search(r"\b(1 message|\d+ messages)\b", done.error)
    assert [path.name for path in tmp_path.iterdir()] == (["messages"] if to_file else [])


def test_event_types_are_listed(cct: Terminal) -> None:
    assert ["git_tag", "git"] in cct.ok("event-types", "--category", "git").cells
    assert cct.ok("event-types", "--json").json["count"] > 40


# Settings


def test_keys_are_created_listed_and_revoked(cct: Terminal) -> None:
    # No other name: the suite is that of the pages too, which make keys named ci.
    made = cct.ok("keys", "create", "builds", "--scope", "events:write", "--days", "30", "--per-second", "5")
    key = dict(line.split(maxsplit=1) for line in made.lines)
    assert key["scopes"] == "events:write"
    listed = cct.ok("keys", "list")
    assert [row[:4] for row in listed.cells if row[1] == "builds"] == [
        [key["id"], "builds", "bearer", "active"]
    ]
    assert key["secret"] not in listed.out
    cct.ok("--key", key["secret"], "send", "With a key of its own")
    refused = cct.run("messages", "--key", key["secret"])
    assert refused.code == ExitCode.REFUSED
    assert "cct keys create NAME --scope messages:read" in refused.error
    assert key["secret"] not in refused.error
    assert key["id"] in cct.ok("keys", "revoke", "builds").error
    unknown = cct.run("send", "x", "--key", key["secret"])
    assert unknown.code == ExitCode.REFUSED
    assert "The key is from the arguments." in unknown.error
    assert key["secret"] not in unknown.error
    signing = cct.ok("keys", "create", "hook", "--signing", "--json").json
    assert signing["kind"] == "signing"
    assert cct.ok("keys", "revoke", signing["id"], "--json").json[0]["status"] == "revoked"


def test_a_chat_keeps_the_settings_that_are_not_given(cct: Terminal) -> None:
    cct.ok("chats", "set", "-2001", "--name", "Team", "--zone", "Europe/Berlin")
    cct.ok("chats", "set", "-2001", "--quiet-hours", "22:00-07:00", "--days", "mon,tue", "--action", "silent")
    cct.ok("chats", "set", "-2001", "--days", "wed")
    shown = dict(cct.ok("chats", "show", "-2001").cells)
    assert shown["name"] == "Team"
    assert shown["time zone"] == "Europe/Berlin"
    assert shown["quiet hours"] == "22:00 to 07:00 on wed: silent"
    assert cct.ok("chats", "set", "-2001", "--quiet-hours", "off", "--json").json["quiet_hours"] is None
    refused = cct.run("chats", "set", "-2001", "--days", "mon")
    assert "--days and --action are for quiet hours" in refused.error


def test_routes_are_listed_and_tried(cct: Terminal, suite: Suite) -> None:
    assert cct.ok("routes", "list", "--json").json["routes"] == []
    assert cct.ok("routes", "test").cells == [[str(ADA), "", "default", "", "defaults"]]
    done = cct.ok(
        "routes", "test", "--type", "build_failed", "--severity", "high", "--project", "shop", "--json"
    )
    assert done.json["by"] == "defaults"


# Health


def test_status_says_how_every_service_is(cct: Terminal) -> None:
    done = cct.run("status")
    assert [row[0] for row in done.cells] == ["bridge", "alert-relay", "mcp-health", "dashboard"]
    assert {each["service"] for each in cct.run("status", "--json").json} == {row[0] for row in done.cells}


def test_doctor_finds_what_is_set_up(cct: Terminal) -> None:
    findings = {each["name"]: each for each in cct.run("doctor", "--json").json}
    assert findings["bridge"]["verdict"] == "ok"
    assert findings["key"]["text"] == "default: all scopes"
    assert (
        "the sandbox takes Telegram's place" in findings["bot"]["text"]
        or findings["bot"]["text"] == "not checked yet"
    )
    assert findings["chats"]["text"] == f"events that name no chat go to {ADA}"
    assert findings["Prometheus"]["text"] == "not configured (PROMETHEUS_URL)"


def test_doctor_says_what_is_wrong_with_the_key(cct: Terminal) -> None:
    done = cct.run("doctor", "--key", "cct_not-a-key-of-this-bridge")
    assert done.code == ExitCode.NO
    (row,) = [row for row in done.cells if row[1] == "key"]
    assert row[0] == "wrong"
    assert row[2].startswith("Not authorized (401): This key is not known. The key is from the arguments.")
    assert "cct_not-a-key" not in done.out


# Help


def test_every_command_has_help_with_an_example(cct: Terminal) -> None:
    assert len(EXAMPLES) > 15
    for name, example in EXAMPLES.items():
        text = cct.ok(*name.split(), "--help").out
        assert " ".join(f"Example: {example}".split()) in " ".join(text.split()), name
        assert "--json" in text
        assert example.startswith(f"cct {name}")


def test_completion_is_offered(cct: Terminal) -> None:
    assert "--install-completion" in cct.ok("--help").out


# Trial and templates


def test_a_test_message_is_waited_for(cct: Terminal, chats: Chats) -> None:
    assert cct.ok("test", "--chat", str(ADA)).lines == [f"Chat {ADA} has it."]
    assert any("Test message" in message.get("text", "") for message in chats.messages(ADA))
    refused = cct.run("test", "--chat", str(GONE))
    assert refused.code == ExitCode.NO
    assert f"Chat {GONE}: dead_letter: " in refused.out


def test_a_preview_shows_the_text_and_sends_nothing(cct: Terminal, chats: Chats) -> None:
    before = len(chats.messages(ADA))
    shown = cct.ok("templates", "preview", "Build 7", "All green", "--type", "build_failed")
    assert shown.lines == ["💥 Build 7", "", "All green"]
    assert len(chats.messages(ADA)) == before
    assert cct.ok("templates", "list", "--json").json == {"folder": None, "names": [], "error": None}


def test_an_incident_is_listed_shown_and_handled(cct: Terminal, suite: Suite) -> None:
    fire(suite, "AlertOfTheCommand")
    newest = cct.ok("incidents", "list").cells[0]
    incident_id = newest[0]
    assert newest[1:5] == ["firing", "AlertOfTheCommand", "critical", "1/1"]

    assert cct.ok("incidents", "ack", incident_id, "--by", "Ada").cells == [[incident_id, "acknowledged"]]
    assert cct.run("incidents", "resolve", incident_id, "--version", "1").code == ExitCode.REFUSED
    cct.ok("incidents", "note", incident_id, "The disk is full", "--by", "Ada")
    assert cct.ok("incidents", "resolve", incident_id, "--by", "Ada").cells == [[incident_id, "resolved"]]

    shown = cct.ok("incidents", "show", incident_id).out
    for part in ("acknowledged by\tAda", "resolved by\tAda", "note\tAda\tThe disk is full"):
        assert part in shown
    assert cct.ok("incidents", "show", incident_id, "--json").json["state"] == "resolved"
