/** A level is told by shape, word and colour: none of them alone. */

import type { Level } from "./wire.ts";

const SHAPES: Record<Level, preact.JSX.Element> = {
  healthy: <path d="M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zm-3.400 7.200 2.400 2.400 4.600-4.900" class="cut" />,
  degraded: <path d="M8 1.200 15.400 14.600H.600zM8 6v4m0 2v.300" class="cut" />,
  unhealthy: <path d="M8 .600 15.400 8 8 15.400.600 8zM8 4.600v4.200m0 2.100v.300" class="cut" />,
  critical: <path d="M5 1h6l4 4v6l-4 4H5l-4-4V5zm.400 4.400 5.200 5.200m0-5.200-5.200 5.200" class="cut" />,
  unknown: <path d="M8 2.200a5.800 5.800 0 1 1 0 11.600A5.800 5.800 0 0 1 8 2.200z" class="ring" />,
};

export function Mark({ level }: { level: Level }) {
  return (
    <svg class={`mark ${level}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      {SHAPES[level]}
    </svg>
  );
}
