import { useEffect, useRef, useState } from "preact/hooks";
import { between, count, duration, moment, words } from "./format.ts";
import { Mark, levelOfStatus } from "./level.tsx";
import { ask, type Links, type Message, type MessagePage, type Recent } from "./wire.ts";

const STATES = ["queued", "sending", "retry_wait", "delivered", "unknown", "dead_letter", "suppressed", "expired", "cancelled"];
const SPANS: [string, number][] = [["any time", 0], ["last 5 min", 300], ["last hour", 3600], ["last day", 86_400]];
const TYPING_PAUSE = 250;

interface Filter {
  status: string;
  q: string;
  span: number;
}

const ALL: Filter = { status: "", q: "", span: 0 };

function address(filter: Filter, now: number, cursor: string | null): string {
  const query = new URLSearchParams({ limit: "50" });
  if (filter.status) query.set("status", filter.status);
  if (filter.q) query.set("q", filter.q);
  if (filter.span) query.set("since", new Date((now - filter.span) * 1000).toISOString());
  if (cursor) query.set("cursor", cursor);
  return `/api/messages?${query}`;
}

/** The newest page as it changes, the older pages that were asked for, and what went wrong. */
function useMessages(recent: Recent | null, filter: Filter, changes: string | null, now: number) {
  const [found, setFound] = useState<MessagePage | null>(null);
  const [older, setOlder] = useState<MessagePage[]>([]);
  const [failure, setFailure] = useState<string | null>(null);
  const asking = useRef<AbortController | null>(null);
  const all = filter === ALL;
  useEffect(() => {
    setFound(null);
    setOlder([]);
    setFailure(null);
    asking.current?.abort();
    asking.current = null;
  }, [filter]);
  useEffect(() => {
    if (all || asking.current) return;
    const controller = new AbortController();
    asking.current = controller;
    ask<MessagePage>(address(filter, now, null), controller.signal)
      .then((page) => {
        setFound(page);
        setFailure(null);
      })
      .catch((error: Error) => controller.signal.aborted || setFailure(error.message))
      .finally(() => {
        if (asking.current === controller) asking.current = null;
      });
  }, [filter, changes]);
  const first = all ? (recent?.items ? { items: recent.items, next_cursor: recent.next_cursor } : null) : found;
  const cursor = (older.at(-1) ?? first)?.next_cursor ?? null;
  const more = () => {
    ask<MessagePage>(address(filter, now, cursor), new AbortController().signal)
      .then((page) => setOlder((before) => [...before, page]))
      .catch((error: Error) => setFailure(error.message));
  };
  const known = new Map<string, Message>();
  for (const page of [...older, first].toReversed()) {
    for (const item of page?.items ?? []) if (!known.has(item.id)) known.set(item.id, item);
  }
  const rows = [...(first?.items ?? []), ...older.flatMap((page) => page.items)].filter((item, index, list) => list.findIndex((other) => other.id === item.id) === index);
  return { rows: first ? rows.map((row) => known.get(row.id) ?? row) : null, more: cursor ? more : null, failure: all ? (recent?.failure ?? failure) : failure };
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
  const { rows, more, failure } = useMessages(recent, filter, changes, now);
  return (
    <section class="panel messages" aria-label="Messages">
      <div class="heading">
        <h2>Messages</h2>
        <Filters filter={filter} onChange={setFilter} />
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
      <p class="more">{more && <button type="button" onClick={more}>Show older</button>}</p>
    </section>
  );
}

function Row({ row, links, now, onOpen }: { row: Message; links: Links; now: number; onOpen: (id: string) => void }) {
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
      <td class="c-number">{duration(between(row.accepted_at, row.finished_at))}</td>
    </tr>
  );
}

export function chat(sandbox: string, id: number | string): string {
  return `${sandbox}/#${encodeURIComponent(id)}`;
}

function Filters({ filter, onChange }: { filter: Filter; onChange: (filter: Filter) => void }) {
  const [text, setText] = useState("");
  const change = (part: Partial<Filter>) => {
    const next = { ...filter, ...part };
    onChange(next.status || next.q || next.span ? next : ALL);
  };
  useEffect(() => {
    if (text.trim() === filter.q) return;
    const pause = window.setTimeout(() => change({ q: text.trim() }), TYPING_PAUSE);
    return () => window.clearTimeout(pause);
  }, [text]);
  return (
    <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
      <input type="search" placeholder="Search titles" aria-label="Search titles" maxLength={200} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      <select aria-label="Status" value={filter.status} onChange={(event) => change({ status: event.currentTarget.value })}>
        <option value="">any status</option>
        {STATES.map((state) => <option key={state} value={state}>{words(state)}</option>)}
      </select>
      <select aria-label="Time" value={String(filter.span)} onChange={(event) => change({ span: Number(event.currentTarget.value) })}>
        {SPANS.map(([name, span]) => <option key={span} value={String(span)}>{name}</option>)}
      </select>
    </form>
  );
}
