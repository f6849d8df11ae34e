"""Transport of calls: what is measured, and what a person must check."""

from ipaddress import ip_network

import pytest

from services.contracts.health import ControlStatus
from services.mcp_health import compliance, posture, transport
from services.mcp_health.compliance import Finding, Question
from services.mcp_health.transport import Network
from tests.mcp_health.neighbours import NOW

LOCAL = {"bridge": "http://127.0.0.1:8080", "dashboard": "http://localhost:8082"}
INSIDE = Network(
    own=frozenset({"172.18.0.9"}),
    links=(ip_network("172.18.0.0/16"),),
    resolved={
        "bridge": ["172.18.0.4", "172.18.0.5"],
        "here": ["172.18.0.9"],
        "far": ["10.9.0.3"],
        "outside": ["8.8.8.8"],
        "split": ["172.18.0.4", "8.8.8.8"],
        "gone": [],
        "8.8.8.8": ["8.8.8.8"],
    },
)


class TestTransport:
    def test_this_machine_passes(self) -> None:
        assert transport.measure(LOCAL, INSIDE, NOW).status is ControlStatus.PASSED
        assert transport.measure({"bridge": "http://here:8080"}, INSIDE, NOW).status is ControlStatus.PASSED

    def test_encryption_passes(self) -> None:
        found = transport.measure({**LOCAL, "grafana": "https://grafana.example.org"}, INSIDE, NOW)
        assert found.status is ControlStatus.PASSED
        assert found.evidence["addresses"]["grafana"] == "encrypted"

    @pytest.mark.parametrize("host", ["8.8.8.8", "outside", "split"])
    def test_a_public_address_without_encryption_fails_also_behind_a_name(self, host: str) -> None:
        found = transport.measure({**LOCAL, "bridge": f"http://{host}:8080"}, INSIDE, NOW)
        assert found.status is ControlStatus.FAILED
        assert found.evidence["addresses"]["bridge"] == "plain, public: 8.8.8.8"

    @pytest.mark.parametrize(
        ("host", "transport_kind"),
        [
            ("bridge", "plain, next to this one: 172.18.0.0/16"),
            ("far", "plain: 10.9.0.3"),
            ("gone", "plain, no address now"),
        ],
    )
    def test_whether_another_network_stays_on_the_host_cannot_be_seen(
        self, host: str, transport_kind: str
    ) -> None:
        found = transport.measure({"bridge": f"http://{host}:8080"}, INSIDE, NOW)
        assert found.status is ControlStatus.UNKNOWN
        assert found.evidence["addresses"] == {"bridge": transport_kind}
        assert "docker network inspect" in found.evidence["check"]

    def test_what_is_unknown_says_what_to_look_at_instead_of_what_to_change(self) -> None:
        elsewhere = {"bridge": "http://bridge:8080"}
        measured: dict[str, Finding] = {
            Question.TRANSPORT: transport.measure(elsewhere, INSIDE, NOW),
            Question.LISTENERS: posture.listeners(elsewhere, [], NOW),
        }
        advice = {
            row.control.question: row.recommendation
            for row in compliance.assess(measured, NOW, 60).results
            if row.control.question in measured
        }
        assert advice == {
            Question.TRANSPORT: transport.CHECK_NETWORK,
            Question.LISTENERS: posture.CHECK_PUBLISHED,
        }

    def test_the_machine_s_own_network_is_seen(self) -> None:
        seen = transport.network(["localhost", "no-such-host.invalid"])
        assert "127.0.0.1" in seen.own
        assert ip_network("127.0.0.0/8") in seen.links
        assert "127.0.0.1" in seen.resolved["localhost"]
        assert seen.resolved["no-such-host.invalid"] == []

    def test_the_evidence_repeats_no_password_of_an_address(self) -> None:
        found = transport.measure({"prometheus": "https://me:hunter2@prometheus.example.org"}, INSIDE, NOW)
        assert "hunter2" not in str(found.evidence)

    def test_nothing_called_is_nothing_known(self) -> None:
        assert transport.measure({}, INSIDE, NOW).status is ControlStatus.UNKNOWN
