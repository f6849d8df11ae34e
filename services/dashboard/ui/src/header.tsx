import { moment, roughly, words } from "./format.ts";
import { Mark } from "./level.tsx";
import type { State } from "./wire.ts";

/** The overall level in words, with the names of what it comes from. */
export function verdict(state: State): string {
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
