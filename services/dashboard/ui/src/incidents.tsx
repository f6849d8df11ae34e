import { ago, between, duration, epoch, lastAnswer, roughly } from "./format.ts";
import { levelOfIncident } from "./judgement.ts";
import { Mark } from "./mark.tsx";
import type { Incidents } from "./wire.ts";

export function IncidentList({ incidents, now }: { incidents: Incidents; now: number }) {
  const items = incidents.items;
  return (
    <section class="panel" aria-label="Incidents">
      <div class="heading">
        <h2>Incidents</h2>
        {incidents.failure && <span class="failure">{incidents.failure}; {lastAnswer(incidents.answered_at, now)}</span>}
      </div>
      {items === null && <p class="nothing">unknown: alert-relay has not told any</p>}
      {items?.length === 0 && <p class="nothing">None so far</p>}
      {items && items.length > 0 && (
        <ul class="incidents">
          {items.map((incident) => (
            <li key={incident.id}>
              <Mark level={levelOfIncident(incident)} />
              <span class="name">{incident.alertname ?? "alert without a name"}</span>
              <span class="small">
                {incident.severity ?? "no severity"} · {incident.state}
                {incident.state === "resolved"
                  ? ` after ${duration(between(incident.opened_at, incident.resolved_at))}`
                  : incident.opened_at && ` for ${roughly(now - epoch(incident.opened_at))}`}
              </span>
              <span class="small when">{ago(incident.opened_at, now)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
