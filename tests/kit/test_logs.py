import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit import logs
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry
from tests.kit.apps import live
from tests.kit.conftest import Lines
from tests.span_recorder import SpanRecorder

TOKEN = "123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQ"
KEY = "cct_abcdefghijklmnopqrstuvwxyz"


log = structlog.get_logger()


def test_a_line_is_json_with_its_fields(lines: Lines) -> None:
    log.info("settled", state="delivered", attempt=2, late=False, cause=None)
    line = lines.last
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "settled",
        "state": "delivered",
        "attempt": 2,
        "late": False,
        "cause": None,
        "level": "info",
        "service": "suite",
    }


def test_the_standard_library_s_loggers_write_the_same(lines: Lines) -> None:
    logging.getLogger("some.library").warning("lost %s of %d", "one", 3)
    assert lines.last["event"] == "lost one of 3"
    assert lines.last["level"] == "warning"


def test_less_than_the_level_is_not_written(lines: Lines) -> None:
    log.debug("detail")
    logging.getLogger("some.library").debug("detail")
    logging.getLogger("httpx").info("GET https://api.telegram.org/bot%s/getMe", TOKEN)
    assert lines.text == ""


def test_a_line_within_a_span_names_its_trace(lines: Lines) -> None:
    telemetry = Telemetry("kit-test", ServiceSettings())
    with telemetry.tracer.start_as_current_span("work") as span:
        log.info("inside")
    log.info("outside")
    context = span.get_span_context()
    assert lines.of("inside")["trace_id"] == f"{context.trace_id:032x}"
    assert lines.of("inside")["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in lines.of("outside")


SECRETS = {
    "a bot token": (TOKEN, f"token {TOKEN} refused"),
    "a Bot API URL": (TOKEN, f"POST https://api.telegram.org/bot{TOKEN}/sendMessage 502"),
    "a quoted Bot API URL": (TOKEN.partition(":")[2], f"/bot{TOKEN.replace(':', '%3A')}/getMe"),
    "a file URL": (TOKEN, f"/file/bot{TOKEN}/documents/1.txt"),
    "a bearer key": ("opensesame42", "Authorization: Bearer opensesame42"),
    "a lower-case bearer key": ("opensesame42", "authorization: bearer opensesame42"),
    "a key of ours": (KEY, f"the key {KEY} is not known"),
    "a database password": ("lovelace", "postgresql://ada:lovelace@db:5432/events is away"),
    "a Redis password": ("lovelace", "redis://:lovelace@redis:6379/0 is away"),
    "a cookie": ("c2Vzc2lvbg", "Cookie: session=c2Vzc2lvbg; theme=dark"),
}


@pytest.mark.parametrize(("secret", "text"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_taken_out_wherever_it_stands(secret: str, text: str, lines: Lines) -> None:
    log.info(text)
    log.info("field", what=text)
    log.info("nested", what={"deep": [{"deeper": text}, (text,), {text}]})
    log.info("key", what={text: 1})
    log.info("object", what=ValueError(text))
    log.info("bytes", what=text.encode())
    logging.getLogger("some.library").warning("they said %s", text)
    logging.getLogger("some.library").warning("extra", extra={"said": text})
    assert len(lines.all) == 8
    assert secret not in lines.text
    assert logs.REDACTED in lines.text


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "bot_token",
        "SECRET",
        "password",
        "Authorization",
        "api_key",
        "apikey",
        "cookie",
        "set-cookie",
    ],
)
def test_a_field_with_such_a_name_is_taken_out_whatever_it_holds(name: str, lines: Lines) -> None:
    for value in ("hunter2", 4711, ["hunter2"], {"value": "hunter2"}, b"hunter2"):
        log.info("field", **{name: value})
        log.info("nested", headers={name: value}, rows=[{name: value}])
    assert "hunter2" not in lines.text
    assert "4711" not in lines.text


def test_the_rest_of_the_text_stays_readable() -> None:
    assert logs.redact(f"POST http://t/bot{TOKEN}/getMe 502") == f"POST http://t/bot{logs.REDACTED}/getMe 502"
    assert logs.redact("redis://:pw@h/0 gone") == f"redis://{logs.REDACTED}@h/0 gone"
    for harmless in ("at 12:30:45", "http://127.0.0.1:8080/events", "1000001:short", "ada@example.org"):
        assert logs.redact(harmless) == harmless


def test_an_exception_s_traceback_is_written_without_secrets(lines: Lines) -> None:
    def call() -> None:
        raise ConnectionError(f"https://api.telegram.org/bot{TOKEN}/sendMessage")

    try:
        call()
    except ConnectionError:
        log.exception("lost")
        logging.getLogger("some.library").exception("lost too")
    assert "ConnectionError" in lines.of("lost")["exception"]
    assert "in call" in lines.of("lost too")["exception"]
    assert TOKEN not in lines.text


def test_a_line_is_never_lost_to_what_stands_in_it(lines: Lines) -> None:
    log.info("huge", number=2**70)
    log.info("half a pair", text="\ud800")
    log.info("odd keys", what={1: "a", None: "b", (2, 3): "c"})
    log.info("not a number", value=float("nan"))
    log.info("bytes", value=b"\xff\xfe")
    assert [line["event"] for line in lines.all] == [
        "huge",
        "half a pair",
        "odd keys",
        "not a number",
        "bytes",
    ]
    assert lines.of("huge")["number"] == 2**70


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.text(max_size=20), st.dictionaries(st.text(max_size=10), json_values, max_size=4))
def test_no_bot_token_survives_any_surroundings(text: str, fields: dict[str, Any]) -> None:
    assert TOKEN not in logs.redact(f"{text}{TOKEN}{text}")
    redacted = logs._redacted("", {"fields": fields, "at": [f"{text}{TOKEN}"]})
    assert TOKEN not in str(redacted)


async def test_each_service_of_a_process_signs_its_own_lines(lines: Lines, tmp_path: Path) -> None:
    async with live(tmp_path / "one") as one, live(tmp_path / "two") as two:
        two.running.app.title = "CCTelegram other"
        await one.http.get("/fails")
        await two.http.get("/fails")
    log.info("afterwards")
    assert {line["service"] for line in lines.all if line["event"] == "request_failed"} == {"kit-test"}
    assert lines.of("afterwards")["service"] == "suite"


async def test_a_failed_request_is_logged_with_its_path_correlation_and_trace(
    lines: Lines, tmp_path: Path
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with live(tmp_path, sink=SpanRecorder()) as service:
        await service.http.get("/fails", headers={"x-correlation-id": "run-7", "traceparent": parent})
        await service.http.get("/problem")
    line = lines.of("request_failed")
    assert line["correlation_id"] == "run-7"
    assert line["trace_id"] == parent.split("-")[1]
    assert line["path"] == "/fails"
    assert [each["level"] for each in lines.all].count("error") == 1
    assert "RuntimeError" in line["exception"]
    assert "AAbbCCdd" not in lines.text


@pytest.mark.parametrize("header", ["", "two words", "x" * 129, 'quote"', "<script>"])
async def test_a_correlation_id_that_is_none_is_left_out(header: str, lines: Lines, tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        await service.http.get("/fails", headers={"x-correlation-id": header})
    assert "correlation_id" not in lines.of("request_failed")


async def test_a_request_is_logged_without_the_correlation_of_the_one_before(
    lines: Lines, tmp_path: Path
) -> None:
    async with live(tmp_path) as service:  # one client keeps one connection
        await service.http.get("/things/1", headers={"x-correlation-id": "run-7"})
        await service.http.get("/fails")
    assert "correlation_id" not in lines.of("request_failed")


def test_a_file_takes_the_lines_where_one_is_named(tmp_path: Path, lines: Lines) -> None:
    logs.configure("INFO", tmp_path / "logs" / "suite.log")
    log.info("to the file")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert json.loads((tmp_path / "logs" / "suite.log").read_text())["event"] == "to the file"


def test_a_log_that_cannot_be_written_stops_the_start_in_one_line(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"^DATA_DIR: cannot write the log .*: Not a directory$"):
        logs.configure("INFO", tmp_path / "data" / "logs" / "suite.log")
