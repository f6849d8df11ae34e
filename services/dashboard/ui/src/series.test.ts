import assert from "node:assert/strict";
import test from "node:test";
import { latest, merge } from "./series.ts";
import type { Series } from "./wire.ts";

function series(t: number[], depth: (number | null)[], step = 5): Series {
  const nothing = t.map(() => null);
  return {
    step,
    t,
    queue_depth: depth,
    accepted_per_second: nothing,
    delivered_per_second: nothing,
    failed_per_second: nothing,
    oldest_age_seconds: nothing,
    p50_seconds: nothing,
    p95_seconds: nothing,
    p99_seconds: nothing,
  };
}

test("a newer slice replaces the one of the same time", () => {
  const merged = merge(series([0, 5, 10], [1, 2, 3]), series([10, 15], [7, 8]), 3600);
  assert.deepEqual(merged.t, [0, 5, 10, 15]);
  assert.deepEqual(merged.queue_depth, [1, 2, 7, 8]);
});

test("what is older than the window falls out", () => {
  const merged = merge(series([0, 5, 10], [1, 2, 3]), series([15], [4]), 10);
  assert.deepEqual(merged.t, [5, 10, 15]);
  assert.deepEqual(merged.queue_depth, [2, 3, 4]);
});

test("a pause is a hole and not a line across", () => {
  const merged = merge(series([0, 5], [1, 2]), series([100], [3]), 3600);
  assert.deepEqual(merged.t, [0, 5, 10, 100]);
  assert.deepEqual(merged.queue_depth, [1, 2, null, 3]);
});

test("everything known falls out after a pause longer than the window", () => {
  const merged = merge(series([0, 5], [1, 2]), series([9000], [3]), 3600);
  assert.deepEqual(merged.t, [9000]);
  assert.deepEqual(merged.queue_depth, [3]);
});

test("nothing new changes nothing, and another step starts over", () => {
  const known = series([0, 5], [1, 2]);
  assert.equal(merge(known, series([], []), 3600), known);
  const other = series([0, 10], [1, 2], 10);
  assert.equal(merge(known, other, 3600), other);
  assert.equal(merge(null, known, 3600), known);
});

test("the latest value may be one slice old, and no older", () => {
  assert.equal(latest([1, 2, null]), 2);
  assert.equal(latest([1, null, null]), null);
  assert.equal(latest([1, 0]), 0);
  assert.equal(latest([]), null);
});
