/** What the server tells; the same names as in its OpenAPI document. Null is "not measured". */

export type Level = "healthy" | "degraded" | "unhealthy" | "critical" | "unknown";

export interface Part {
  name: string;
  level: Level;
  last_check: string | null;
  measured: Record<string, unknown>;
}

export interface Service {
  name: string;
  level: Level;
  answered_at: string | null;
  asked_at: string | null;
  failure: string | null;
  response_time_ms: number | null;
  version: string | null;
  uptime_seconds: number | null;
  parts: Part[];
}

export interface Flow {
  answered_at: string | null;
  failure: string | null;
  fresh: boolean;
  counted_since: string | null;
  accepted_total: number | null;
  delivered_total: number | null;
  failed_total: number | null;
  retries_total: number | null;
  dead_letters_total: number | null;
  unknown_total: number | null;
  accepted_per_second: number | null;
  delivered_per_second: number | null;
  delivery_rate_percent: number | null;
  queue: Record<string, number> | null;
  queue_depth: number | null;
  oldest_message_age_seconds: number | null;
  latency_seconds: { p50: number | null; p95: number | null; p99: number | null } | null;
  active_correlations: number | null;
}

export interface Incident {
  id: string;
  state: string;
  alertname: string | null;
  severity: string | null;
  group_labels: Record<string, string>;
  opened_at: string | null;
  updated_at: string | null;
  resolved_at: string | null;
  episodes: number | null;
  firing: number | null;
}

export interface Incidents {
  answered_at: string | null;
  failure: string | null;
  fresh: boolean;
  items: Incident[] | null;
  more: boolean;
}

export interface Links {
  grafana: string | null;
  prometheus: string | null;
  jaeger: string | null;
  sandbox: string | null;
}

export interface State {
  at: string;
  level: Level;
  version: string;
  interval_ms: number;
  history_minutes: number;
  auth_enabled: boolean;
  services: Service[];
  flow: Flow;
  incidents: Incidents;
  links: Links;
}

type Column = (number | null)[];

export interface Series {
  step: number;
  t: number[];
  accepted_per_second: Column;
  delivered_per_second: Column;
  failed_per_second: Column;
  queue_depth: Column;
  oldest_age_seconds: Column;
  p50_seconds: Column;
  p95_seconds: Column;
  p99_seconds: Column;
}

export interface Message {
  id: string;
  event_id: string | null;
  type: string | null;
  title: string | null;
  chat_id: number | string | null;
  status: string;
  accepted_at: string | null;
  finished_at: string | null;
  correlation_id: string | null;
  trace_id: string | null;
  telegram_message_ids: number[];
  last_error: string | null;
}

export interface MessageRow extends Message {
  attempts: number | null;
}

export interface MessagePage {
  items: MessageRow[];
  next_cursor: string | null;
}

export interface Attempt {
  number: number;
  started_at: string | null;
  duration_ms: number | null;
  outcome: string | null;
  reason: string | null;
  detail: string | null;
  limiter_wait_ms: number | null;
  telegram_message_id: number | null;
}

export interface MessageLife extends Message {
  next_attempt_at: string | null;
  deliver_at: string | null;
  quiet_until: string | null;
  events: { at: string; state: string; cause: string | null }[];
  attempts: Attempt[];
}

export interface Recent {
  failure: string | null;
  items: MessageRow[] | null;
  next_cursor: string | null;
}

export interface Update {
  state: State;
  history?: Series;
  recent?: Recent;
}

/** A refusal in the server's words. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(text);
    this.status = status;
  }
}

/** Asks the server; goes to the login page when the session is over. */
export async function ask<T>(path: string, signal: AbortSignal): Promise<T> {
  const response = await fetch(path, { signal, headers: { accept: "application/json" } });
  if (response.status === 401) location.assign("/login");
  if (!response.ok) {
    const problem = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
    const words = [problem.title, problem.detail].filter(Boolean).join(": ");
    throw new Refused(response.status, words || `The server answered ${response.status}`);
  }
  return (await response.json()) as T;
}
