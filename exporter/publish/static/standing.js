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
  const window = state.datasets.find((each) => each.name === "window");
  const fetched = window?.fetched ? `The window was last fetched at ${format.time(window.fetched, now)}` : "";
  if (state.status !== "success") {
    // The snapshot is young, what it lacks is not: when it was made says nothing of the values.
    const withdrawn = fetched ? ` ${fetched}; its values are withdrawn.` : "";
    return told("stale", fetched ? "Stale" : "No data", `${sentence(state.message)}${shown?.status === "success" ? asOf : withdrawn}`);
  }
  if (!shown) return told("starting", "Loading", "");
  if (shown.tag !== state.tag && behind > CATCHING_UP_MILLISECONDS) {
    return told("lost", "Not current", `Newer numbers cannot be fetched from the exporter.${asOf} Trying again.`);
  }
  if (window?.staleAt && window.staleAt < now) return told("stale", "Stale", `${fetched}.${asOf}`);
  // A snapshot is made at every poll, also where the window could not be fetched: its age is not that of the numbers.
  const age = now - Math.min(shown.created, window?.fetched ?? shown.created);
  return told("live", `Live · updated ${format.duration(age)} ago`, "");
}

const told = (kind, brief, alarm) => ({ kind, brief, alarm });

function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1).replace(/\.?$/, ".")}` : "";
}
