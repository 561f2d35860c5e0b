// Whether what is on the page may be trusted at this moment. In: the exporter's last state, how long it has been
// silent, and which snapshot the page shows. Out: one of four standings, in words. When in doubt: not current.

import * as format from "./format.js";

/** The page has this long to fetch a snapshot that was announced before what it shows counts as old. */
export const CATCHING_UP_MILLISECONDS = 8_000;

/**
 * `state`: the last word of the exporter or null; `silence`: null, "unreachable" or "refused"; `shown`: head of the
 * numbers on the page or null; `behind`: milliseconds since the exporter announced something else.
 */
export function standing({ state, silence, shown, behind, now }) {
  const asOf = shown ? ` What you see is from ${format.time(shown.created, now)} and not current.` : "";
  if (silence === "refused") {
    return told("lost", "Not current", `The exporter asks for a user name and password; load this page again.${asOf}`);
  }
  if (silence) return told("lost", "Not current", `The exporter cannot be reached.${asOf} Trying again.`);
  if (!state) return told("starting", "Connecting", "");
  if (state.tag === null) {
    return told("starting", "Starting", `The exporter has just started: no data yet.${asOf}`);
  }
  if (state.status !== "success") return told("stale", "Stale", `${sentence(state.message)}${asOf}`);
  if (!shown) return told("starting", "Loading", "");
  if (shown.tag !== state.tag && behind > CATCHING_UP_MILLISECONDS) {
    return told("lost", "Not current", `Newer numbers cannot be fetched from the exporter.${asOf} Trying again.`);
  }
  const window = state.datasets.find((each) => each.name === "window");
  if (window?.staleAt && window.staleAt < now) {
    return told("stale", "Stale", `Nothing was fetched since ${format.time(window.fetched, now)}.${asOf}`);
  }
  return told("live", `Live · updated ${format.duration(now - shown.created)} ago`, "");
}

const told = (kind, brief, alarm) => ({ kind, brief, alarm });

function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1).replace(/\.?$/, ".")}` : "";
}
