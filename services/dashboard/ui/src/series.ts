/** The charts' memory in the browser: what the server tells, put onto what it told before. */

import type { Series } from "./wire.ts";

type Name = Exclude<keyof Series, "step" | "t">;
const COLUMNS: Name[] = [
  "accepted_per_second",
  "delivered_per_second",
  "failed_per_second",
  "queue_depth",
  "oldest_age_seconds",
  "p50_seconds",
  "p95_seconds",
  "p99_seconds",
];

/** Newer slices replace older ones of the same time; what is older than the window falls out. */
export function merge(known: Series | null, told: Series, window: number): Series {
  const first = told.t[0];
  const last = told.t.at(-1);
  if (first === undefined || last === undefined) return known ?? told;
  if (known === null || known.step !== told.step) return told;
  const from = known.t.findIndex((t) => t >= last - window);
  const until = known.t.findIndex((t) => t >= first);
  const kept = [from === -1 ? known.t.length : from, until === -1 ? known.t.length : until] as const;
  const before = known.t[kept[1] - 1];
  const gap = before !== undefined && kept[1] > kept[0] && first - before > known.step * 1.5;
  const result: Series = { ...told, t: [...known.t.slice(...kept), ...(gap ? [before + known.step] : []), ...told.t] };
  for (const name of COLUMNS) {
    result[name] = [...known[name].slice(...kept), ...(gap ? [null] : []), ...told[name]];
  }
  return result;
}

/** The newest value that was measured, if it is no older than two slices. */
export function latest(column: (number | null)[]): number | null {
  return column.at(-1) ?? column.at(-2) ?? null;
}
