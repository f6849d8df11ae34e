/** The connection to the server: comes back by itself, and says since when it shows the past. */

import { useEffect, useRef, useState } from "preact/hooks";
import { merge } from "./series.ts";
import type { Recent, Series, State, Update } from "./wire.ts";

const NOT_LOGGED_IN = 4401;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;

export interface Live {
  state: State | null;
  series: Series | null;
  recent: Recent | null;
  /** Seconds since the epoch, by the server's clock; it goes on when nothing comes. */
  now: number;
  /** When the last update came, by the server's clock, if no more are coming. */
  staleSince: number | null;
  /** Whether connecting failed, and nothing has come yet. */
  unreached: boolean;
}

export function useLive(): Live {
  const [live, setLive] = useState<Live>({ state: null, series: null, recent: null, now: Date.now() / 1000, staleSince: null, unreached: false });
  const connection = useRef<Connection | null>(null);
  useEffect(() => {
    const made = new Connection((change) => setLive((before) => ({ ...before, ...change(before) })));
    connection.current = made;
    return () => made.close();
  }, []);
  return live;
}

type Change = (before: Live) => Partial<Live>;

class Connection {
  private readonly tell: (change: Change) => void;
  private socket: WebSocket | null = null;
  private wait = FIRST_WAIT;
  private heardAt = performance.now();
  private offset = 0;
  private interval = 1000;
  private readonly ticking: number;
  private reconnecting: number | undefined;
  private closed = false;

  constructor(tell: (change: Change) => void) {
    this.tell = tell;
    this.connect();
    this.ticking = window.setInterval(() => this.tick(), 1000);
    window.addEventListener("online", this.retryNow);
    document.addEventListener("visibilitychange", this.retryNow);
  }

  close(): void {
    this.closed = true;
    window.clearInterval(this.ticking);
    window.clearTimeout(this.reconnecting);
    window.removeEventListener("online", this.retryNow);
    document.removeEventListener("visibilitychange", this.retryNow);
    this.socket?.close();
  }

  private connect(): void {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/live`);
    this.socket = socket;
    socket.onmessage = (event: MessageEvent<string>) => this.heard(JSON.parse(event.data) as Update);
    socket.onclose = (event) => {
      if (this.closed || socket !== this.socket) return;
      if (event.code === NOT_LOGGED_IN) {
        location.assign("/login");
        return;
      }
      this.stale();
      this.reconnecting = window.setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    };
  }

  private readonly retryNow = (): void => {
    if (document.hidden || this.socket?.readyState !== WebSocket.CLOSED) return;
    window.clearTimeout(this.reconnecting);
    this.connect();
  };

  private heard(update: Update): void {
    this.wait = FIRST_WAIT;
    this.heardAt = performance.now();
    this.interval = update.state.interval_ms;
    this.offset = Date.parse(update.state.at) - Date.now();
    this.tell((before) => ({
      state: update.state,
      series: update.history ? merge(before.series, update.history, update.state.history_minutes * 60) : before.series,
      recent: update.recent ?? before.recent,
      now: this.now(),
      staleSince: null,
      unreached: false,
    }));
  }

  private tick(): void {
    const silent = performance.now() - this.heardAt;
    if (silent > 3 * this.interval + 2000 && this.socket?.readyState === WebSocket.OPEN) {
      this.stale();
      this.heardAt = performance.now();
      this.socket.close(); // it only looks open: start over
    }
    this.tell(() => ({ now: this.now() }));
  }

  private stale(): void {
    this.tell((before) => (before.state ? { staleSince: before.staleSince ?? Date.parse(before.state.at) / 1000 } : { unreached: true }));
  }

  private now(): number {
    return (Date.now() + this.offset) / 1000;
  }
}
