/** Numbers and times for people. What is not known is a dash, and never a zero. */

export const NOTHING = "–";
const whole = new Intl.NumberFormat("en-US");

export function count(value: number | null | undefined): string {
  return value == null ? NOTHING : whole.format(value);
}

/** Per second: as many digits as can be read. */
export function rate(value: number | null | undefined): string {
  if (value == null) return NOTHING;
  if (value === 0) return "0";
  if (value < 0.005) return "<0.01";
  return value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
}

export function percent(value: number | null | undefined): string {
  if (value == null) return NOTHING;
  // 99.96 is not 100: a failure must not be rounded away.
  if (value === 100) return "100";
  return (Math.floor(value * 10) / 10).toFixed(1);
}

/** A length of time, with its unit. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return NOTHING;
  if (seconds < 0) return NOTHING;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return "<1 ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const total = Math.round(seconds);
  if (total < 3600) return join(Math.floor(total / 60), "min", total % 60, "s");
  if (total < 86_400) return join(Math.floor(total / 3600), "h", Math.floor((total % 3600) / 60), "min");
  return join(Math.floor(total / 86_400), "d", Math.floor((total % 86_400) / 3600), "h");
}

/** A length of time in one unit, for where there is little room. */
export function short(seconds: number | null | undefined): string {
  if (seconds == null || seconds < 59.5) return duration(seconds);
  for (const [size, unit] of [[86_400, "d"], [3600, "h"]] as const) {
    if (seconds >= size) return `${(seconds / size).toFixed(1)} ${unit}`;
  }
  return `${(seconds / 60).toFixed(1)} min`;
}

function join(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;
}

/** A length of time in its largest unit alone: it stands beside things that change each second. */
export function roughly(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  for (const [size, unit] of [[86_400, "d"], [3600, "h"], [60, "min"]] as const) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}

export function ago(at: string | null, now: number): string {
  if (at === null) return "never";
  const seconds = now - epoch(at);
  return seconds < 1 ? "now" : `${roughly(seconds)} ago`;
}

/** When somebody who is asked again and again last answered. */
export function lastAnswer(at: string | null, now: number): string {
  return at === null ? "never answered" : `last answer ${ago(at, now)}`;
}

export function epoch(at: string): number {
  return Date.parse(at) / 1000;
}

/** Seconds between two moments; null if one is missing. */
export function between(start: string | null, end: string | null): number | null {
  return start !== null && end !== null ? epoch(end) - epoch(start) : null;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The time of day; with the day in front when that is not today. */
export function moment(at: string | null, now: number): string {
  if (at === null) return NOTHING;
  const date = new Date(at);
  const today = new Date(now * 1000).toDateString() === date.toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** `retry_wait` → `retry wait`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

const UNITS: [RegExp, (value: number) => string][] = [
  [/_ms$/, (ms) => (ms === 0 ? "0 ms" : duration(ms / 1000))],
  [/_seconds$/, duration],
  [/_percent$/, (share) => `${percent(share)} %`],
  [/_mb$/, (size) => `${count(Math.round(size))} MB`],
  [/_total$/, count],
];

/** One measured value by its name, whose ending tells the unit. */
export function measured(name: string, value: unknown): [string, string] {
  const unit = UNITS.find(([ending]) => ending.test(name));
  const bare = unit && (typeof value === "number" || value === null) ? name.replace(unit[0], "") : name;
  if (typeof value === "number") return [words(bare), unit ? unit[1](value) : count(value)];
  return [words(bare), plain(value)];
}

/** A value as words: what is nested is told one after the other. */
function plain(value: unknown): string {
  if (value === null || value === undefined) return NOTHING;
  if (Array.isArray(value)) return value.length ? value.map(plain).join(", ") : "none";
  if (typeof value !== "object") return String(value);
  const told = Object.entries(value).map(([name, inner]) => `${words(name)} ${plain(inner)}`);
  return told.join(", ") || "none";
}
