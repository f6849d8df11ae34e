import { useEffect, useState } from "preact/hooks";
import { Charts } from "./charts.tsx";
import { Drawer } from "./drawer.tsx";
import { FlowTiles } from "./flow.tsx";
import { moment } from "./format.ts";
import { Header } from "./header.tsx";
import { IncidentList } from "./incidents.tsx";
import { verdict } from "./judgement.ts";
import { useLive } from "./live.ts";
import { Messages } from "./messages.tsx";
import { ServiceCards } from "./services.tsx";

/** The message that the address names: `#message/ID`. It can be linked to, and Back closes it. */
function useOpenMessage(): [string | null, (id: string | null) => void] {
  const read = () => /^#message\/([A-Za-z0-9-]{1,64})$/.exec(location.hash)?.[1] ?? null;
  const [open, setOpen] = useState(read);
  useEffect(() => {
    const changed = () => setOpen(read());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  const show = (id: string | null) => {
    if (id) location.hash = `message/${id}`;
    else {
      history.pushState(null, "", location.pathname);
      setOpen(null);
    }
  };
  return [open, show];
}

export function App() {
  const { state, series, recent, now, staleSince, unreached } = useLive();
  const [open, show] = useOpenMessage();
  if (state === null) return <p class="waiting" role="status">{unreached ? "The dashboard cannot be reached: trying again…" : "Connecting…"}</p>;
  const spoken = staleSince === null ? verdict(state) : `No updates since ${moment(new Date(staleSince * 1000).toISOString(), now)}`;
  return (
    <>
      <p class="unseen" role="status">{spoken}</p>
      <Header state={state} now={now} staleSince={staleSince} />
      <main class={staleSince === null ? "" : "stale"}>
        <FlowTiles flow={state.flow} now={now} />
        <Charts series={series} now={now} minutes={state.history_minutes} />
        <div class="columns">
          <Messages recent={recent} changes={state.flow.answered_at} links={state.links} now={now} onOpen={show} />
          <div class="side">
            <ServiceCards services={state.services} now={now} />
            <IncidentList incidents={state.incidents} now={now} />
          </div>
        </div>
      </main>
      {open && <Drawer id={open} links={state.links} now={now} changes={state.at} onClose={() => show(null)} />}
    </>
  );
}
