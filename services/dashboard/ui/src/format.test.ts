import assert from "node:assert/strict";
import test from "node:test";
import { NOTHING, ago, between, count, duration, lastAnswer, measured, moment, percent, rate, roughly, short, words } from "./format.ts";

const AT = "2026-01-01T00:00:00.000Z";
const NOW = Date.parse(AT) / 1000;

test("what is not known is a dash and never a zero", () => {
  for (const show of [count, rate, percent, duration]) {
    assert.equal(show(null), NOTHING);
    assert.equal(show(undefined), NOTHING);
  }
  assert.equal(between(AT, null), null);
});

test("a rate has as many digits as can be read", () => {
  assert.deepEqual([0, 0.001, 0.2, 9.99, 15.24, 99.96, 1234].map(rate), ["0", "<0.01", "0.20", "9.99", "15.2", "100", "1234"]);
});

test("a failure is never rounded away", () => {
  assert.equal(percent(99.99), "99.9");
  assert.equal(percent(100), "100");
  assert.equal(percent(0), "0.0");
});

test("a duration names its unit", () => {
  const told = [0, 0.0004, 0.12, 0.9997, 1.23, 9.96, 61, 3600, 90_061].map(duration);
  assert.deepEqual(told, ["0 s", "<1 ms", "120 ms", "1.0 s", "1.2 s", "10 s", "1 min 1 s", "1 h", "1 d 1 h"]);
  assert.equal(duration(-1), NOTHING);
});

test("where there is little room a duration has one unit", () => {
  assert.deepEqual([0.12, 59, 75, 3600, 7300, 129_600].map(short), ["120 ms", "59 s", "1.3 min", "1.0 h", "2.0 h", "1.5 d"]);
  assert.equal(short(null), NOTHING);
});

test("an age is told in its largest unit", () => {
  assert.deepEqual([0, 59, 60, 3599, 7200, 90_000].map(roughly), ["0 s", "59 s", "1 min", "59 min", "2 h", "1 d"]);
  assert.equal(ago(AT, NOW + 0.4), "now");
  assert.equal(ago(AT, NOW - 3), "now");
  assert.equal(ago(AT, NOW + 3), "3 s ago");
  assert.equal(ago(null, NOW), "never");
});

test("a measured value gets its unit from its name", () => {
  assert.deepEqual(measured("response_time_ms", 45), ["response time", "45 ms"]);
  assert.deepEqual(measured("oldest_message_age_seconds", 1.2), ["oldest message age", "1.2 s"]);
  assert.deepEqual(measured("usage_percent", 12.34), ["usage", "12.3 %"]);
  assert.deepEqual(measured("conflicts_total", 1200), ["conflicts", "1,200"]);
  assert.deepEqual(measured("connection_pool", "8/10"), ["connection pool", "8/10"]);
  assert.deepEqual(measured("response_time_ms", null), ["response time", NOTHING]);
  assert.deepEqual(measured("response_time_ms", 0), ["response time", "0 ms"]);
  assert.deepEqual(measured("jobs_total", "many"), ["jobs total", "many"]);
});

test("what is nested is told in words", () => {
  assert.deepEqual(measured("components", { event_loop: "healthy", disk: "unknown" }), ["components", "event loop healthy, disk unknown"]);
  assert.deepEqual(measured("stale", []), ["stale", "none"]);
  assert.deepEqual(measured("peers", ["a", { b: null }]), ["peers", `a, b ${NOTHING}`]);
});

test("who never answered is not said to have answered", () => {
  assert.equal(lastAnswer(null, NOW), "never answered");
  assert.equal(lastAnswer(AT, NOW + 61), "last answer 1 min ago");
});

test("a moment of another day has its day", () => {
  const seconds = new Date(2026, 0, 2, 15, 4, 5).getTime() / 1000;
  const at = new Date(seconds * 1000).toISOString();
  assert.equal(moment(at, seconds + 60), "15:04:05");
  assert.equal(moment(at, seconds + 86_400), "2 Jan 15:04:05");
  assert.equal(moment(null, seconds), NOTHING);
});

test("a name is told in words", () => {
  assert.equal(words("retry_wait_and_more"), "retry wait and more");
});
