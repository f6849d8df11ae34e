import { moment, roughly } from "./format.ts";
import { verdict } from "./judgement.ts";
import { Mark } from "./mark.tsx";
import type { State } from "./wire.ts";

export function Header({ state, now, staleSince }: { state: State; now: number; staleSince: number | null }) {
  const { grafana, prometheus, jaeger, sandbox } = state.links;
  const links = Object.entries({ Sandbox: sandbox, Grafana: grafana, Prometheus: prometheus, Jaeger: jaeger });
  document.title = `${state.level === "healthy" ? "" : `${state.level}: `}CCTelegram`;
  return (
    <header>
      <h1>CCTelegram</h1>
      <p class={`verdict ${staleSince === null ? state.level : "unknown"}`}>
        <Mark level={staleSince === null ? state.level : "unknown"} />
        <span title={verdict(state)}>{verdict(state)}</span>
      </p>
      <p class={staleSince === null ? "pulse" : "pulse off"}>
        {staleSince === null ? "Live" : `Stale since ${moment(new Date(staleSince * 1000).toISOString(), now)} (${roughly(now - staleSince)}) – reconnecting`}
      </p>
      <nav aria-label="Other pages">
        {links.map(([name, url]) => url && <a key={name} href={url} target="_blank" rel="noopener">{name}</a>)}
        {state.auth_enabled && (
          <form method="post" action="/logout">
            <button type="submit">Log out</button>
          </form>
        )}
      </nav>
    </header>
  );
}
