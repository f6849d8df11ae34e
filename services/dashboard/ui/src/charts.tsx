import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, moment, rate, short } from "./format.ts";
import { latest } from "./series.ts";
import type { Series } from "./wire.ts";

interface Line {
  label: string;
  column: (series: Series) => (number | null)[];
  colour: string;
}

interface Chart {
  title: string;
  show: (value: number | null) => string;
  tick: (value: number) => string;
  lines: Line[];
}

const CHARTS: Chart[] = [
  {
    title: "Messages per second",
    show: rate,
    tick: String,
    lines: [
      { label: "accepted", column: (s) => s.accepted_per_second, colour: "--blue" },
      { label: "delivered", column: (s) => s.delivered_per_second, colour: "--green" },
      { label: "failed", column: (s) => s.failed_per_second, colour: "--red" },
    ],
  },
  {
    title: "Waiting messages",
    show: count,
    tick: (value) => (Number.isInteger(value) ? count(value) : ""),
    lines: [{ label: "most in a slice", column: (s) => s.queue_depth, colour: "--blue" }],
  },
  {
    title: "Time to deliver",
    show: short,
    tick: (value) => (value < 1 ? `${+(value * 1000).toFixed(3)} ms` : `${+value.toFixed(3)} s`),
    lines: [
      { label: "p50", column: (s) => s.p50_seconds, colour: "--green" },
      { label: "p95", column: (s) => s.p95_seconds, colour: "--amber" },
      { label: "p99", column: (s) => s.p99_seconds, colour: "--red" },
    ],
  },
];

const HEIGHT = 150;
const LEAST = 300; // seconds that are shown at least
const together = uPlot.sync("history");

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(chart: Chart, width: number, onCursor: (index: number | null) => void): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: () => colour("--dim"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 18, 0, 0], // the last time is written half beyond its line
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, sync: { key: together.key } },
    scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, space: 70, size: 24, incrs: MINUTES, values: (_plot, ticks) => ticks.map((tick) => clock.format(tick * 1000)) },
      { ...axis, space: 32, size: 52, values: (_plot, ticks) => ticks.map((tick) => (tick === 0 ? "0" : chart.tick(tick))) },
    ],
    series: [
      {},
      ...chart.lines.map((line) => ({
        label: line.label,
        stroke: () => colour(line.colour),
        width: 1.5,
        points: { show: (plot: uPlot, _series: number, from: number, to: number) => to - from < 4 && plot.data[0].length < 4 },
      })),
    ],
    hooks: { setCursor: [(plot) => onCursor(plot.cursor.idx ?? null)] },
  };
}

const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480].map((minutes) => minutes * 60);
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** The whole window once it is filled; until then what there is, so that it can be read. */
function start(series: Series, now: number, minutes: number): number {
  const first = series.t[0] ?? now;
  return Math.max(now - minutes * 60, Math.min(first, now - LEAST));
}

function Panel({ chart, series, now, minutes }: { chart: Chart; series: Series | null; now: number; minutes: number }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(chart, element.clientWidth, setCursor), [[], ...chart.lines.map(() => [])], element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const repaint = () => made.redraw();
    dark.addEventListener("change", repaint);
    return () => {
      dark.removeEventListener("change", repaint);
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [chart]);
  useEffect(() => {
    const made = plot.current;
    if (!made || !series) return;
    made.batch(() => {
      made.setData([series.t, ...chart.lines.map((line) => line.column(series))] as uPlot.AlignedData, false);
      made.setScale("x", { min: start(series, now, minutes), max: now });
    });
  }, [series]);
  const at = cursor === null ? undefined : series?.t[cursor];
  const value = (line: Line) => {
    if (!series) return null;
    return at === undefined || cursor === null ? latest(line.column(series)) : (line.column(series)[cursor] ?? null);
  };
  const empty = !series || chart.lines.every((line) => line.column(series).every((found) => found === null));
  const spoken = chart.lines.map((line) => `${line.label} ${chart.show(value(line))}`).join(", ");
  return (
    <section class="panel chart" aria-label={chart.title}>
      <div class="heading">
        <h2>{chart.title}</h2>
        <p class="legend">
          {at !== undefined && <span class="when">{moment(new Date(at * 1000).toISOString(), now)}</span>}
          {chart.lines.map((line) => (
            <span key={line.label} class="key">
              <i class={line.colour.slice(2)} />
              {line.label} <b>{chart.show(value(line))}</b>
            </span>
          ))}
        </p>
      </div>
      <div ref={place} class="plot" role="img" aria-label={`Up to ${minutes} minutes back; now ${spoken}`} />
      {empty && <p class="nothing">Nothing measured yet</p>}
    </section>
  );
}

export function Charts(props: { series: Series | null; now: number; minutes: number }) {
  return (
    <div class="charts">
      {CHARTS.map((chart) => (
        <Panel key={chart.title} chart={chart} {...props} />
      ))}
    </div>
  );
}
