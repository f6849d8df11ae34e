import { useEffect, useRef, useState } from "preact/hooks";
import { between, count, moment, short, words } from "./format.ts";
import { levelOfStatus } from "./judgement.ts";
import { Mark } from "./mark.tsx";
import { ask, type Links, type MessagePage, type MessageRow, type Recent } from "./wire.ts";

const STATES = ["queued", "sending", "retry_wait", "delivered", "unknown", "dead_letter", "suppressed", "expired", "cancelled"];
const SPANS: [string, number][] = [["any time", 0], ["last 5 min", 300], ["last hour", 3600], ["last day", 86_400]];
const TYPING_PAUSE = 250;
const FIRST = 50;
const MOST = 400;

interface Filter {
  status: string;
  q: string;
  span: number;
}

const ALL: Filter = { status: "", q: "", span: 0 };

function address(filter: Filter, now: number, limit: number): string {
  const query = new URLSearchParams({ limit: String(limit) });
  if (filter.status) query.set("status", filter.status);
  if (filter.q) query.set("q", filter.q);
  if (filter.span) query.set("since", new Date((now - filter.span) * 1000).toISOString());
  return `/api/messages?${query}`;
}

interface Found {
  rows: MessageRow[] | null;
  more: boolean;
  failure: string | null;
}

/** The newest messages that match: pushed while nothing is asked for, else asked for at every change. */
function useMessages(recent: Recent | null, filter: Filter, limit: number, changes: string | null, now: number): Found {
  const [found, setFound] = useState<{ filter: Filter; page: MessagePage } | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const asking = useRef<{ question: string; controller: AbortController } | null>(null);
  const pushed = filter === ALL && limit === FIRST;
  const question = JSON.stringify([filter, limit]);
  useEffect(() => setFailure(null), [question]);
  useEffect(() => {
    if (asking.current?.question === question) return;
    asking.current?.controller.abort();
    asking.current = null;
    if (pushed) return;
    const controller = new AbortController();
    const mine = { question, controller };
    asking.current = mine;
    ask<MessagePage>(address(filter, now, limit), controller.signal)
      .then((page) => {
        setFound({ filter, page });
        setFailure(null);
      })
      .catch((error: Error) => controller.signal.aborted || setFailure(error.message))
      .finally(() => {
        if (asking.current === mine) asking.current = null;
      });
  }, [question, changes]);
  if (pushed) return { rows: recent?.items ?? null, more: recent?.next_cursor != null, failure: recent?.failure ?? null };
  const page = found?.filter === filter ? found.page : null;
  return { rows: page?.items ?? null, more: page?.next_cursor != null, failure };
}

interface Props {
  recent: Recent | null;
  changes: string | null;
  links: Links;
  now: number;
  onOpen: (id: string) => void;
}

export function Messages({ recent, changes, links, now, onOpen }: Props) {
  const [filter, setFilter] = useState<Filter>(ALL);
  const [limit, setLimit] = useState(FIRST);
  const { rows, more, failure } = useMessages(recent, filter, limit, changes, now);
  const change = (part: Partial<Filter>) => {
    setLimit(FIRST);
    setFilter((before) => {
      const next = { ...before, ...part };
      return next.status || next.q || next.span ? next : ALL;
    });
  };
  return (
    <section class="panel messages" aria-label="Messages">
      <div class="heading">
        <h2>Messages</h2>
        <Filters filter={filter} onChange={change} />
      </div>
      <p class="failure" role="status">{failure}</p>
      <div class="scroll">
        <table>
          <thead>
            <tr><th class="c-time">Accepted</th><th class="c-status">Status</th><th>Title</th><th class="c-chat">Chat</th><th class="c-number">Tries</th><th class="c-number">Took</th></tr>
          </thead>
          <tbody>
            {rows?.map((row) => <Row key={row.id} row={row} links={links} now={now} onOpen={onOpen} />)}
          </tbody>
        </table>
        {rows === null && <p class="nothing">{failure ? "unknown" : "Asking…"}</p>}
        {rows?.length === 0 && <p class="nothing">{filter === ALL ? "No message was accepted yet" : "No message matches"}</p>}
      </div>
      <p class="more small">
        {more && limit < MOST && <button type="button" onClick={() => setLimit(Math.min(MOST, limit * 2))}>Show older</button>}
        {more && limit >= MOST && `The newest ${MOST} are shown: search for older ones`}
      </p>
    </section>
  );
}

function Row({ row, links, now, onOpen }: { row: MessageRow; links: Links; now: number; onOpen: (id: string) => void }) {
  return (
    <tr onClick={(event) => (event.target as Element).closest("a") || onOpen(row.id)}>
      <td class="c-time" title={row.accepted_at ?? ""}>{moment(row.accepted_at, now)}</td>
      <td class="c-status">
        <span class="status" title={row.last_error ?? ""}>
          <Mark level={levelOfStatus(row.status)} />
          {words(row.status)}
        </span>
      </td>
      <td class="c-title">
        <button type="button" class="plain" aria-haspopup="dialog">{row.title ?? row.id}</button>
        <span class="small">{row.type && words(row.type)}</span>
        {row.last_error && <span class="failure">{words(row.last_error)}</span>}
      </td>
      <td class="c-chat">{links.sandbox && row.chat_id !== null ? <a href={chat(links.sandbox, row.chat_id)} target="_blank" rel="noopener">{row.chat_id}</a> : (row.chat_id ?? "–")}</td>
      <td class="c-number">{count(row.attempts)}</td>
      <td class="c-number">{short(between(row.accepted_at, row.finished_at))}</td>
    </tr>
  );
}

export function chat(sandbox: string, id: number | string): string {
  return `${sandbox}/#${encodeURIComponent(id)}`;
}

function Filters({ filter, onChange }: { filter: Filter; onChange: (part: Partial<Filter>) => void }) {
  const [text, setText] = useState("");
  useEffect(() => {
    if (text.trim() === filter.q) return;
    const pause = window.setTimeout(() => onChange({ q: text.trim() }), TYPING_PAUSE);
    return () => window.clearTimeout(pause);
  }, [text]);
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <input type="search" placeholder="Search titles" aria-label="Search titles" maxLength={200} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      <select aria-label="Status" value={filter.status} onChange={(event) => onChange({ status: event.currentTarget.value })}>
        <option value="">any status</option>
        {STATES.map((state) => <option key={state} value={state}>{words(state)}</option>)}
      </select>
      <select aria-label="Time" value={String(filter.span)} onChange={(event) => onChange({ span: Number(event.currentTarget.value) })}>
        {SPANS.map(([name, span]) => <option key={span} value={String(span)}>{name}</option>)}
      </select>
    </form>
  );
}
