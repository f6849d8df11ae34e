"""ON_CALL_FILE: what it says is what happens, and what is wrong with it is named; docs/on-call.md holds."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay import app
from services.alert_relay.channels.target import Channel, Target
from services.alert_relay.incidents.incident import ALERT_RELAY, Escalated, Incident, IncidentState, reduce
from services.alert_relay.on_call import document
from services.alert_relay.on_call.policies import DEFAULT, Level, Policies, Policy, targets_of
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from services.kit.settings import StartError
from tests import servers
from tests.alert_relay.payloads import START

PAGE = (Path(__file__).parents[3] / "docs" / "on-call.md").read_text()
EXAMPLE, OVERRIDE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
FIRING = Incident("i", 1, IncidentState.FIRING, "critical", START, policy=DEFAULT, escalates_from=START)


def reachable(_: Target) -> None:
    """Every channel is set up."""


def read(text: str, check: Callable[[Target], None] = reachable) -> Policies:
    return document.read(text, (), check)


def steps(policies: Policies, incident: Incident) -> list[tuple[int, int, float]]:
    """Returns all steps of an incident that no person acknowledges: level, round, seconds."""
    found = []
    while (step := policies.next_step(incident)) is not None:
        found.append((step.level, step.round, step.due_at - START))
        incident = reduce(incident, Escalated(step.level, step.round), ALERT_RELAY, step.due_at)
    return found


def test_the_example_of_the_page_means_what_the_page_says() -> None:
    policies = read(EXAMPLE)

    assert steps(policies, FIRING)[:5] == [
        (1, 0, 300.0),
        (2, 0, 900.0),
        (0, 1, 3_600.0),
        (1, 1, 3_900.0),
        (2, 1, 4_500.0),
    ]
    assert len(steps(policies, FIRING)) == 2 + 3 * 3
    assert [str(each) for each in policies.targets(DEFAULT, 1, START)] == [
        "telegram:1001",
        "email:ops@example.com",
        "slack:operations",
    ]
    assert policies.policy({"service": "redis", "severity": "critical"}) == "database"
    assert policies.policy({"service": "redis", "severity": "info"}) == DEFAULT
    assert Target(Channel.EMAIL, "manager@example.com") in targets_of(policies)


def test_compose_gives_the_file_to_the_service_that_reads_it() -> None:
    ((name, service),) = yaml.safe_load(OVERRIDE)["services"].items()
    compose = yaml.safe_load((Path(__file__).parents[3] / "compose.yaml").read_text())

    assert name in compose["services"]
    (volume,) = service["volumes"]
    assert volume.split(":")[1] == service["environment"]["ON_CALL_FILE"]


def test_a_policy_that_is_gone_counts_as_the_default_one() -> None:
    policies = read(EXAMPLE)

    assert policies.targets("of yesterday", 0, START) == policies.targets(DEFAULT, 0, START)


@given(
    after=st.lists(st.floats(1, 86_400), min_size=0, max_size=5, unique=True).map(sorted),
    times=st.integers(0, 3),
)
def test_the_steps_of_a_policy_come_in_the_order_of_time(after: list[float], times: int) -> None:
    levels = tuple(Level(each, ()) for each in (0.0, *after))
    policy = Policy(levels, repeat_every=100_000.0 if times else 0.0, repeat_times=times)
    found = steps(Policies({DEFAULT: policy}), FIRING)

    due = [seconds for _, _, seconds in found]
    assert due == sorted(due)
    assert len(found) == len(levels) * (times + 1) - 1


def test_an_incident_that_needs_a_person_again_has_its_levels_from_then_on() -> None:
    step = read(EXAMPLE).next_step(replace(FIRING, escalates_from=START + 1_000))

    assert step is not None
    assert step.due_at == START + 1_300


POLICY = "policies:\n  default:\n    levels:\n      - targets: [{}]\n"


def refuse_slack(target: Target) -> None:
    if target.channel is Channel.SLACK:
        raise ValueError(f"{target}: no setting describes it")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["an object"]),
        ("policies: [", ["this is no YAML in line 1"]),
        ("policies: {}\n", ["policies"]),
        (POLICY.format("sms:1"), ["policies.default.levels[0].targets[0]: 'sms:1' names no channel"]),
        (
            POLICY.format("slack:ops, slack:dev"),
            ["levels[0].targets[0]: slack:ops: no setting", "levels[0].targets[1]: slack:dev: no setting"],
        ),
        (POLICY.format("telegram:1") + "        after: 5m\n", ["levels[0].after: the first level"]),
        (
            POLICY.format("telegram:1") + "      - {after: 0s, targets: [telegram:2]}\n",
            ["policies.default.levels: each level must have a later time"],
        ),
        (POLICY.format("telegram:1") + "    repeat: {every: 0s}\n", ["repeat.every: this must be later"]),
        (
            POLICY.format("telegram:1") + "    levles: []\n",
            ["policies.default.levles: there is no such field"],
        ),
        (POLICY.format("telegram:1") + "    receipt_within: soon\n", ["receipt_within"]),
        (POLICY.format("telegram:1").replace("default", "other"), ["add one with the name default"]),
        (POLICY.format("telegram:1") * 2, ["'policies' is written twice"]),
        (
            POLICY.format("telegram:1") + "routes:\n  - {match: [team=db], policy: defualt}\n",
            ["routes[0].policy: there is no policy 'defualt'; did you mean \"default\"?"],
        ),
        (
            POLICY.format("telegram:1") + 'routes:\n  - {match: ["team=~("], policy: default}\n',
            ["routes[0].match: the regular expression"],
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(text: str, faults: list[str]) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is compared below
        read(text, refuse_slack)

    for fault in faults:
        assert fault in str(raised.value)


def test_a_wrong_file_stops_the_start_and_a_missing_one_too(
    relay_settings: AlertRelaySettings, tmp_path: Path
) -> None:
    path = tmp_path / "on-call.yaml"
    settings = relay_settings.model_copy(update={"on_call_file": path})
    with pytest.raises(StartError, match="ON_CALL_FILE: cannot read"):
        app.create_app(settings)
    path.write_text(POLICY.format("email:ada@example.com"))
    with pytest.raises(StartError, match=r"ON_CALL_FILE: policies.default.levels\[0\].targets\[0\]: .*SMTP"):
        app.create_app(settings)


async def test_the_command_of_the_page_says_whom_an_alert_notifies(
    relay_settings: AlertRelaySettings, tmp_path: Path
) -> None:
    path = tmp_path / "on-call.yaml"
    path.write_text(
        re.sub(r", (email|slack):\S+?(?=[],])|pagerduty:payments", "", EXAMPLE)
        .replace("[]", "[telegram:1003]")
        .replace("[email:manager@example.com]", "[telegram:1004]")
    )
    (command,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    words = shlex.split(command)
    settings = relay_settings.model_copy(update={"on_call_file": path})
    async with (
        running(app.create_app, settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        answer = await client.post(words[3].removeprefix("localhost:8081"), content=words[5])

    plan = answer.json()
    assert json.loads(words[5])["labels"]["service"] == "postgres"
    assert (plan["policy"], plan["levels"]) == (
        "database",
        [
            {"after_seconds": 0.0, "targets": ["telegram:1002"]},
            {"after_seconds": 600.0, "targets": ["telegram:1001"]},
        ],
    )


@pytest.mark.parametrize("labels", [{"replicas": 3}, {"up": True}, {"zone": None}])
async def test_a_label_of_a_dry_run_is_text(relay: httpx.AsyncClient, labels: dict[str, object]) -> None:
    answer = await relay.post("/api/v1/route-test", json={"labels": labels})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "labels", *labels]


async def test_without_a_file_a_dry_run_says_that_all_targets_are_notified_at_once(
    relay_settings: AlertRelaySettings,
) -> None:
    async with (
        running(app.create_app, relay_settings) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        plan = (await client.post("/api/v1/route-test", json={"labels": {}})).json()

    assert plan["policy"] is None
    assert plan["levels"] == [{"after_seconds": 0.0, "targets": ["telegram:1001"]}]
