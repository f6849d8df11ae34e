import { useEffect, useRef, useState } from "preact/hooks";
import { between, duration, moment, words } from "./format.ts";
import { levelOfStatus } from "./judgement.ts";
import { Mark } from "./mark.tsx";
import { chat } from "./messages.tsx";
import { ask, type Attempt, type Links, type MessageLife } from "./wire.ts";

const FINISHED = ["delivered", "dead_letter", "suppressed", "expired", "cancelled"];

interface Props {
  id: string;
  links: Links;
  now: number;
  changes: string;
  onClose: () => void;
}

/** One message's life, asked for anew with every update until it is finished. */
function useLife(id: string, changes: string): { life: MessageLife | null; failure: string | null } {
  const [life, setLife] = useState<MessageLife | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const asking = useRef(false);
  const over = life?.id === id && FINISHED.includes(life.status);
  useEffect(() => {
    if (over || asking.current) return;
    asking.current = true;
    ask<MessageLife>(`/api/messages/${id}`, new AbortController().signal)
      .then((told) => {
        setLife(told);
        setFailure(null);
      })
      .catch((error: Error) => setFailure(error.message))
      .finally(() => {
        asking.current = false;
      });
  }, [id, changes]);
  return { life: life?.id === id ? life : null, failure };
}

export function Drawer({ id, links, now, changes, onClose }: Props) {
  const { life, failure } = useLife(id, changes);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} class="drawer" aria-labelledby="life" onCancel={onClose} onClick={(event) => event.target === dialog.current && onClose()}>
      <article>
        <div class="heading">
          <h2 id="life" tabIndex={-1} autofocus>{life?.title ?? "Message"}</h2>
          <button type="button" class="close" aria-label="Close" onClick={onClose}>×</button>
        </div>
        {failure && <p class="failure" role="status">{failure}</p>}
        {life === null ? <p class="nothing">{failure ? "unknown" : "Asking…"}</p> : <Life life={life} links={links} now={now} />}
      </article>
    </dialog>
  );
}

function Life({ life, links, now }: { life: MessageLife; links: Links; now: number }) {
  return (
    <>
      <p class="status">
        <Mark level={levelOfStatus(life.status)} />
        <b>{words(life.status)}</b>
        {life.finished_at && <span class="small">{duration(between(life.accepted_at, life.finished_at))} after it was accepted</span>}
      </p>
      {life.last_error && <p class="failure">{words(life.last_error)}</p>}
      <p class="jumps">
        {links.jaeger && life.trace_id && <a href={`${links.jaeger}/trace/${life.trace_id}`} target="_blank" rel="noopener">Trace in Jaeger</a>}
        {links.sandbox && life.chat_id !== null && <a href={chat(links.sandbox, life.chat_id)} target="_blank" rel="noopener">Chat in the sandbox</a>}
      </p>
      <h3>Life</h3>
      <Timeline life={life} />
      <h3>About it</h3>
      <dl class="about">
        <Fact name="type" value={life.type} />
        <Fact name="chat" value={life.chat_id} />
        <Fact name="accepted" value={moment(life.accepted_at, now)} />
        {life.next_attempt_at && <Fact name="next attempt" value={moment(life.next_attempt_at, now)} />}
        {life.deliver_at && <Fact name="deliver at" value={moment(life.deliver_at, now)} />}
        {life.quiet_until && <Fact name="quiet until" value={moment(life.quiet_until, now)} />}
        <Fact name="Telegram message" value={life.telegram_message_ids.join(", ") || null} />
        <Fact name="message" value={life.id} />
        <Fact name="event" value={life.event_id} />
        <Fact name="correlation" value={life.correlation_id} />
        <Fact name="trace" value={life.trace_id} />
      </dl>
    </>
  );
}

function Fact({ name, value }: { name: string; value: string | number | null }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value ?? "–"}</dd>
    </div>
  );
}

type Step = { at: string; state: string; cause: string | null; attempt?: undefined } | { at: string; attempt: Attempt };

/** State changes and attempts in the order in which they came to pass. */
function Timeline({ life }: { life: MessageLife }) {
  const steps: Step[] = [
    ...life.events,
    ...life.attempts.flatMap((attempt) => (attempt.started_at === null ? [] : [{ at: attempt.started_at, attempt }])),
  ];
  const order = (step: Step) => Date.parse(step.at);
  steps.sort((a, b) => order(a) - order(b));
  return (
    <ol class="timeline">
      {steps.map((step, index) => (
        <li key={index} class={step.attempt ? "try" : ""}>
          <time dateTime={step.at} title={step.at}>{offset(life.accepted_at, step.at)}</time>
          {step.attempt ? <Try attempt={step.attempt} /> : <p><Mark level={levelOfStatus(step.state)} /><b>{words(step.state)}</b>{step.cause && <span class="small">{words(step.cause)}</span>}</p>}
        </li>
      ))}
    </ol>
  );
}

function offset(start: string | null, at: string): string {
  const seconds = between(start, at);
  if (seconds === null) return "";
  return seconds <= 0 ? "0" : `+${duration(seconds)}`;
}

function Try({ attempt }: { attempt: Attempt }) {
  const told = [attempt.reason === "none" ? null : attempt.reason && words(attempt.reason), attempt.detail].filter(Boolean).join(": ");
  return (
    <div>
      <p>
        <b>Attempt {attempt.number}</b> {attempt.outcome ? words(attempt.outcome) : "under way"}
        {attempt.telegram_message_id !== null && <span class="small">as message {attempt.telegram_message_id}</span>}
      </p>
      <p class="small">
        took {duration(attempt.duration_ms === null ? null : attempt.duration_ms / 1000)} · waited for the limiter {duration(attempt.limiter_wait_ms === null ? null : attempt.limiter_wait_ms / 1000)}
      </p>
      {told && <p class="failure">{told}</p>}
    </div>
  );
}
