import type { ComponentChildren } from "preact";
import { ago, count, moment, percent, rate, short, words } from "./format.ts";
import { toneOfDelivery } from "./judgement.ts";
import type { Flow } from "./wire.ts";

const WAITING = ["queued", "sending", "retry_wait"];

function Tile({ name, title, children }: { name: string; title?: string; children: ComponentChildren }) {
  return (
    <section class="tile" aria-label={name} title={title}>
      <h2>{name}</h2>
      {children}
    </section>
  );
}

function Big({ value, unit, tone = "" }: { value: string; unit?: string; tone?: string }) {
  return (
    <p class={`big ${tone}`}>
      {value}
      {unit && <span class="unit"> {unit}</span>}
    </p>
  );
}

export function FlowTiles({ flow, now }: { flow: Flow; now: number }) {
  const latency = flow.latency_seconds;
  const told = flow.answered_at !== null;
  const kept = !flow.fresh && told;
  const mean = `Mean of the last 60 seconds; the total counts from ${moment(flow.counted_since, now)}`;
  return (
    <>
      {!flow.fresh && (
        <p class="notice" role="status">
          {kept ? `The bridge last told its numbers ${ago(flow.answered_at, now)}` : "The bridge has not told its numbers yet"}
          {flow.failure && `: ${flow.failure}`}.
        </p>
      )}
      <div class={kept ? "tiles stale" : "tiles"}>
        <Tile name="Accepted" title={mean}>
          <Big value={rate(flow.accepted_per_second)} unit="/s" />
          <p class="small">{count(flow.accepted_total)} in total</p>
        </Tile>
        <Tile name="Waiting" title="Accepted and not finished">
          <div class="split">
            <div>
              <Big value={count(flow.queue_depth)} />
              <p class="small nobreak">oldest {short(flow.oldest_message_age_seconds)}</p>
            </div>
            <dl class="lines">
              {WAITING.map((state) => (
                <div key={state}><dt>{words(state)}</dt><dd>{count(flow.queue?.[state])}</dd></div>
              ))}
            </dl>
          </div>
        </Tile>
        <Tile name="Delivered" title={mean}>
          <Big value={rate(flow.delivered_per_second)} unit="/s" />
          <p class="small">{count(flow.delivered_total)} in total</p>
        </Tile>
        <Tile name="Delivery rate" title="Delivered out of finished, last hour; good from 95 %, bad below 90 %">
          <Big value={percent(flow.delivery_rate_percent)} unit="%" tone={toneOfDelivery(flow.delivery_rate_percent)} />
          <p class="small">{told && flow.delivery_rate_percent === null ? "none finished, last hour" : "of finished, last hour"}</p>
        </Tile>
        <Tile name="Time to deliver" title="From accepted to delivered">
          <dl class="trio">
            {(["p50", "p95", "p99"] as const).map((name) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{short(latency?.[name])}</dd>
              </div>
            ))}
          </dl>
          <p class="small">{told && !latency ? "nothing delivered to measure" : "accepted → delivered"}</p>
        </Tile>
        <Tile name="Trouble" title="Messages that wait for a person now; and retries in total">
          <dl class="lines">
            <div><dt>retries</dt><dd>{count(flow.retries_total)}</dd></div>
            <div><dt>outcome unknown</dt><dd class={flow.queue?.unknown ? "fair" : ""}>{count(flow.queue?.unknown)}</dd></div>
            <div><dt>dead letters</dt><dd class={flow.queue?.dead_letter ? "bad" : ""}>{count(flow.queue?.dead_letter)}</dd></div>
          </dl>
        </Tile>
      </div>
    </>
  );
}
