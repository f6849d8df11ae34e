import assert from "node:assert/strict";
import test from "node:test";
import { levelOfIncident, levelOfStatus, toneOfDelivery, verdict } from "./judgement.ts";
import type { Incident, Level, Part, Service, State } from "./wire.ts";

const part = (name: string, level: Level): Part => ({ name, level, last_check: null, measured: {} });

function service(name: string, level: Level, more: Partial<Service> = {}): Service {
  const nothing = { answered_at: null, asked_at: null, failure: null, response_time_ms: null, version: null, uptime_seconds: null };
  return { name, level, ...nothing, parts: [], ...more };
}

const incident = (state: string, severity: string | null = null): Incident => ({
  id: "1", state, severity, alertname: "HighErrorRate", group_labels: {}, opened_at: null, updated_at: null, resolved_at: null, episodes: 1, firing: 1,
});

function state(level: Level, services: Service[], incidents: Incident[] | null = [], more = false): State {
  return { level, services, incidents: { answered_at: null, failure: null, fresh: true, items: incidents, more } } as unknown as State;
}

test("all is well only when the server says so", () => {
  assert.equal(verdict(state("healthy", [service("bridge", "healthy")])), "All services healthy");
  assert.equal(verdict(state("unknown", [service("bridge", "healthy")])), "Unknown");
});

test("what is worst is named with its parts, and nothing that is better", () => {
  const bridge = service("bridge", "degraded", { parts: [part("message_queue", "degraded"), part("database", "healthy")] });
  const relay = service("alert-relay", "degraded");
  assert.equal(verdict(state("degraded", [bridge, relay, service("mcp-health", "healthy")])), "Degraded – bridge: message queue; alert-relay");
});

test("a service that does not answer is told with the reason, and not with what it said before", () => {
  const bridge = service("bridge", "critical", { failure: "answered 500", parts: [part("database", "critical")] });
  assert.equal(verdict(state("critical", [bridge])), "Critical – bridge: answered 500");
});

test("healthy services do not hide what people were alerted to", () => {
  const healthy = [service("bridge", "healthy")];
  assert.equal(verdict(state("healthy", healthy, [incident("firing"), incident("resolved")])), "All services healthy · 1 open incident");
  assert.equal(verdict(state("healthy", healthy, [incident("firing"), incident("firing")])), "All services healthy · 2 open incidents");
  assert.equal(verdict(state("healthy", healthy, [incident("firing")], true)), "All services healthy · at least 1 open incident");
  assert.equal(verdict(state("healthy", healthy, null)), "All services healthy");
});

test("only what arrived is green, and what is under way is neither good nor bad", () => {
  const levels = ["delivered", "retry_wait", "unknown", "dead_letter", "expired", "queued", "sending", "cancelled", "a state of tomorrow"].map(levelOfStatus);
  assert.deepEqual(levels, ["healthy", "degraded", "degraded", "critical", "unhealthy", "unknown", "unknown", "unknown", "unknown"]);
});

test("an incident is as bad as its severity until it is over", () => {
  assert.deepEqual([incident("firing", "critical"), incident("firing", "warning"), incident("firing"), incident("resolved", "critical")].map(levelOfIncident), ["critical", "degraded", "degraded", "healthy"]);
});

test("the delivery rate has the alerts' thresholds", () => {
  assert.deepEqual([100, 95, 94.9, 90, 89.9, 0, null].map(toneOfDelivery), ["good", "good", "fair", "fair", "bad", "bad", ""]);
});
