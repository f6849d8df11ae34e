"""Mails are read as they come, and become events."""

from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.ways_in.draft import LONGEST_TEXT
from services.bridge.ways_in.smtp import html, mail, mail_event, parts, replies
from services.bridge.ways_in.smtp.mail import Mail, MailFile
from services.kit.errors import Problem


def mail_of(text: str = "Disk is full", **headers: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    for name, value in ({"Subject": "Disk", "From": "root@nas", "Message_ID": "<1@nas>"} | headers).items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def test_a_mail_has_a_subject_a_text_and_its_attachments() -> None:
    message = mail_of("Grüße\nDisk is full", Subject="Plätze: 98 %", X_Priority="1 (Highest)")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="../plän.pdf")
    message.add_attachment("a note", filename="note.txt")
    message.add_attachment(b"", maintype="application", subtype="pdf", filename="empty.pdf")
    assert mail.read(message.as_bytes()) == Mail(
        "Plätze: 98 %",
        "root@nas",
        "Grüße\nDisk is full",
        (MailFile("plän.pdf", b"%PDF"), MailFile("note.txt", b"a note\r\n")),
        "<1@nas>",
        4,
    )


def test_the_text_beside_a_page_is_shown_and_a_page_alone_is_read() -> None:
    both = mail_of("the text")
    both.add_alternative("<p>the page</p>", subtype="html")
    assert mail.read(both.as_bytes()).text == "the text"
    page = EmailMessage()
    page.set_content("<h1>Disk</h1><p>98 %&nbsp;full</p>", subtype="html")
    found = mail.read(page.as_bytes())
    assert (found.text, found.files) == ("Disk\n98 % full", ())


def test_a_forwarded_mail_is_a_file() -> None:
    outer = mail_of("see below")
    outer.add_attachment(mail_of("the first one"))
    (file,) = mail.read(outer.as_bytes()).files
    assert (file.name, b"the first one" in file.content) == ("message.eml", True)


def test_a_forwarded_mail_whose_parts_have_no_boundary_is_a_file() -> None:
    inner = b"Content-Type: multipart/mixed\r\nX: y\r\n\r\nfull: \xff\r\n"
    (file,) = mail.read(b"Content-Type: message/rfc822\r\n\r\n" + inner).files
    assert b"full: " in file.content


@pytest.mark.parametrize(
    ("headers", "urgency"),
    [
        ({}, 2),
        ({"Importance": "High"}, 3),
        ({"Importance": "low"}, 1),
        ({"X_Priority": "2"}, 3),
        ({"X_Priority": "5 (Lowest)", "Importance": "high"}, 1),
        ({"X_Priority": "9"}, 2),
    ],
)
def test_the_importance_of_a_mail_is_its_urgency(headers: dict[str, str], urgency: int) -> None:
    assert mail.read(mail_of(**headers).as_bytes()).urgency == urgency


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("<p></p>", ""),
        ("one\ntwo", "one two"),
        ("<style>p {}</style><script>x</script>seen<!-- not --> too", "seen too"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("a<br>b<ul><li>c</li><li>d &amp; e</li></ul>", "a\nb\nc\nd & e"),
        ('<?xml version="1.0" encoding="latin-1"?><p>Grüße</p>', "Grüße"),
        ("<p>a\0b", "ab"),
    ],
)
def test_a_page_is_read_as_people_see_it(source: str, text: str) -> None:
    assert html.text_of(source) == text


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_mail(content: bytes) -> None:
    for head in (
        b"",
        b"Content-Type: text/html; charset=no-such\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed\r\n\r\n",
        b"Content-Type: message/rfc822\r\n\r\n",
        b"Content-Transfer-Encoding: base64\r\nSubject: =?utf-8?b?/w==?=\r\n\r\n",
        b"Subject: ",
    ):
        found = mail.read(head + content)
        text, files = mail_event.shown(found)
        draft = mail_event.draft("ops", found, text, [])
        assert draft.event["title"]
        assert "\0" not in text
        assert all(one.name and one.content for one in files)
        draft.json()


@pytest.mark.parametrize(
    "content",
    [
        "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(2_000)),
        "Content-Type: message/rfc822\r\n\r\n" * 400,
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + "--b\r\n\r\nx\r\n" * 2_000,
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + "--b\r\nX: y\r\n\r\n" * 2_000,
        "X: y\r\n" * 10_000,
    ],
)
def test_a_mail_of_more_parts_or_headers_than_can_be_read_is_refused(content: str) -> None:
    with pytest.raises(Problem) as refused:
        mail.read(content.encode())
    assert refused.value.errors is not None
    assert replies.of_problem(refused.value).startswith("554 5.6.0 mail: ")


def test_only_the_beginning_of_a_header_is_read() -> None:
    """Python reads parameters in a time that grows with the square of their length."""
    found = parts.read(
        b"Content-Type: text/plain" + b";\r\n a=b" * 10_000 + b"\r\nX: \xff" + b"y" * 20_000 + b"\r\n\r\n"
    )
    assert found.get_content_type() == "text/plain"
    assert [len(found["Content-Type"]), len(found["X"])] == [parts.LONGEST_HEADER] * 2
    assert len(found.as_bytes()) > 80_000


def test_a_page_beside_an_empty_text_or_another_text_is_shown() -> None:
    """Mailing lists add their footer as a text of its own."""
    empty = mail_of("\n")
    empty.add_alternative("<p>the page</p>", subtype="html")
    assert mail.read(empty.as_bytes()).text == "the page"
    page = EmailMessage()
    page.set_content("<p>the page</p>", subtype="html")
    page.make_mixed()
    page.attach(mail_part("the footer"))
    found = mail.read(page.as_bytes())
    assert (found.text, found.files) == ("the page\n\nthe footer", ())


def test_a_page_too_long_to_be_read_is_a_file() -> None:
    page = EmailMessage()
    page.set_content("<p>x</p>" * 50_000, subtype="html")
    found = mail.read(page.as_bytes())
    assert (found.text, [file.name for file in found.files]) == ("", ["file.html"])


def mail_part(text: str) -> EmailMessage:
    part = EmailMessage()
    part.set_content(text)
    return part


def test_another_content_or_date_under_a_message_id_is_another_mail() -> None:
    """A UPS numbers its mails from 1 at each start."""
    mails = [
        mail_of("on battery", Date="Tue, 1 Dec 2026 01:00:00 +0000"),
        mail_of("on battery", Date="Tue, 1 Dec 2026 02:00:00 +0000"),
        mail_of("on mains", Date="Tue, 1 Dec 2026 02:00:00 +0000"),
        mail_of("on mains", Date="Tue, 1 Dec 2026 02:00:00 +0000", Received="by a relay"),
    ]
    keys = []
    for one in mails:
        read = mail.read(one.as_bytes())
        keys.append(mail_event.idempotency_key(read, mail_event.identity("ops", read, read.text, [])))
    assert len(set(keys[:3])) == 3
    assert keys[2] == keys[3]


def test_more_files_than_a_message_has_are_refused_with_a_long_text_as_one_of_them() -> None:
    files = tuple(MailFile(f"{n}", b"x") for n in range(10))
    assert len(mail_event.shown(Mail("", "", "x", files, "", 2))[1]) == 10
    with pytest.raises(Problem):
        mail_event.shown(Mail("", "", "x" * 30_000, files, "", 2))


def event_of(*, subject: str = "", text: str = "", sender: str = "", urgency: int = 2) -> dict[str, Any]:
    found = Mail(subject, sender, text, (), "", urgency)
    text, _ = mail_event.shown(found)
    return dict(mail_event.draft("ops", found, text, []).event)


def test_the_event_of_a_mail_has_its_subject_text_and_sender() -> None:
    assert event_of(subject="Disk", text="98 %", sender="root@nas", urgency=3) == {
        "type": "info_notification",
        "source": "ops",
        "title": "Disk",
        "description": "98 %\n\nFrom: root@nas",
        "priority": "high",
        "severity": "high",
    }
    assert event_of()["title"] == mail_event.EMPTY
    long = event_of(subject="x" * 300, text="98 %")
    assert len(long["title"]) == 200
    assert long["description"] == f"{'x' * 300}\n\n98 %"


def test_a_text_too_long_for_a_message_goes_as_a_file() -> None:
    found = Mail("Log", "root@nas", "line\n" * LONGEST_TEXT, (), "", 2)
    text, (file,) = mail_event.shown(found)
    assert file.name == "message.txt"
    assert file.content.decode().count("line") == LONGEST_TEXT
    assert (len(text) < 2_000, text.endswith("…\n\nFrom: root@nas")) == (True, True)


@pytest.mark.parametrize(
    ("address", "topic"),
    [
        ("ops@bridge", "ops"),
        ("ops+disk@bridge.example", "ops"),
        ("<ops@[127.0.0.1]>", "ops"),
        ("ops", None),
        ("@bridge", None),
        ("my ops@bridge", None),
        ('"a b"@bridge', None),
        ("x" * 65 + "@bridge", None),
    ],
)
def test_the_local_part_of_an_address_is_the_topic(address: str, topic: str | None) -> None:
    assert mail_event.topic_of(address) == topic


@pytest.mark.parametrize(
    ("problem", "reply"),
    [
        (Problem(401, "Not authorized", "This key is not known."), "535 5.7.8 This key is not known."),
        (Problem(403, "Missing scope", "No scope."), "550 5.7.1 No scope."),
        (Problem(409, "In progress"), "451 4.5.0 In progress"),
        (Problem(413, "Too large", "At most 5 bytes."), "552 5.3.4 At most 5 bytes."),
        (
            Problem(422, "Invalid", errors=[{"loc": ["text"], "msg": "is\r\n250 too long"}]),
            "554 5.6.0 text: is 250 too long",
        ),
        (Problem(429, "Too many"), "451 4.7.0 Too many"),
        (Problem(503, "Down", "Später"), "451 4.3.0 Sp ter"),
        (Problem(507, "Full"), "451 4.3.0 Full"),
    ],
)
def test_a_problem_is_one_line_of_smtp(problem: Problem, reply: str) -> None:
    assert replies.of_problem(problem) == reply
