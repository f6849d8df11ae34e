/** What the numbers mean for a person who looks. */

import { words } from "./format.ts";
import type { Incident, Incidents, Level, State } from "./wire.ts";

/** The overall level in words, with the names of what it comes from; and what people were alerted to. */
export function verdict(state: State): string {
  return [levels(state), openIncidents(state.incidents)].filter(Boolean).join(" · ");
}

function openIncidents({ items, more }: Incidents): string {
  const open = items?.filter((incident) => incident.state !== "resolved").length ?? 0;
  if (open === 0) return "";
  return `${more ? "at least " : ""}${open} open ${open === 1 ? "incident" : "incidents"}`;
}

function levels(state: State): string {
  if (state.level === "healthy") return "All services healthy";
  const causes = state.services
    .filter((service) => service.level === state.level)
    .map((service) => {
      const parts = service.parts.filter((part) => part.level === service.level).map((part) => words(part.name));
      if (service.failure) return `${service.name}: ${service.failure}`;
      return parts.length ? `${service.name}: ${parts.join(", ")}` : service.name;
    });
  const level = state.level.charAt(0).toUpperCase() + state.level.slice(1);
  return causes.length ? `${level} – ${causes.join("; ")}` : level;
}

export function levelOfStatus(status: string): Level {
  switch (status) {
    case "delivered":
      return "healthy";
    case "retry_wait":
    case "unknown":
      return "degraded";
    case "dead_letter":
      return "critical";
    case "expired":
      return "unhealthy";
    default:
      return "unknown";
  }
}

export function levelOfIncident(incident: Incident): Level {
  if (incident.state === "resolved") return "healthy";
  return incident.severity === "critical" ? "critical" : "degraded";
}

/** Below 90 % is bad, below 95 % is to be looked at: the thresholds of the alerts. */
export function toneOfDelivery(value: number | null): string {
  if (value === null) return "";
  return value >= 95 ? "good" : value >= 90 ? "fair" : "bad";
}
