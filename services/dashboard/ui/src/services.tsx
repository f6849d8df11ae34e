import { ago, duration, lastAnswer, measured, words } from "./format.ts";
import { Mark } from "./mark.tsx";
import type { Part, Service } from "./wire.ts";

export function ServiceCards({ services, now }: { services: Service[]; now: number }) {
  return (
    <section class="panel" aria-label="Services">
      <div class="heading">
        <h2>Services</h2>
      </div>
      {services.map((service) => (
        <Card key={service.name} service={service} now={now} />
      ))}
    </section>
  );
}

function Card({ service, now }: { service: Service; now: number }) {
  return (
    <details class="service">
      <summary>
        <span class="name">
          <Mark level={service.level} />
          {service.name}
        </span>
        <span class="level">{service.level}</span>
        <span class="small when">{service.failure ? "no answer" : `checked ${ago(service.answered_at, now)}`}</span>
        <span class="parts">
          {service.parts.map((part) => (
            <span key={part.name} class="nobreak">
              <Mark level={part.level} />
              {words(part.name)}
            </span>
          ))}
        </span>
        {service.failure && <span class="failure">{service.failure}; {lastAnswer(service.answered_at, now)}</span>}
      </summary>
      <dl class="facts">
        <div><dt>answered in</dt><dd>{duration(service.response_time_ms === null ? null : service.response_time_ms / 1000)}</dd></div>
        <div><dt>up for</dt><dd>{duration(service.uptime_seconds)}</dd></div>
        <div><dt>version</dt><dd>{service.version ?? "–"}</dd></div>
      </dl>
      {service.parts.map((part) => (
        <PartFacts key={part.name} part={part} now={now} />
      ))}
    </details>
  );
}

function PartFacts({ part, now }: { part: Part; now: number }) {
  return (
    <div class="part">
      <p>
        <Mark level={part.level} />
        <b>{words(part.name)}</b> {part.level} <span class="small when">{part.last_check ? ago(part.last_check, now) : "never checked"}</span>
      </p>
      <dl class="facts">
        {Object.entries(part.measured).map(([key, value]) => {
          const [name, text] = measured(key, value);
          return (
            <div key={key}>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </div>
          );
        })}
      </dl>
    </div>
  );
}
