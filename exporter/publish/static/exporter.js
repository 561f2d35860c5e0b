// What the exporter itself is doing, in words. In: its last state, the exporter's time. Out: text in the page.

import { children, element, nest, write } from "./dom.js";
import * as format from "./format.js";

/** One line that tells the age of the data, the next poll and the calls; then everything. What is not heard is not said. */
export function tellExporter(state, now, silent) {
  const { activity, datasets } = state;
  const window = datasets.find((each) => each.name === "window");
  const brief = [
    window?.fetched ? `data fetched ${format.duration(now - window.fetched)} ago` : "no data yet",
    nextPoll(activity, now),
    calls(activity),
    failing(datasets),
    unwritten(activity) ? "history not written to disk" : "",
  ];
  const said = silent ? `nothing heard since ${format.time(state.now, now)}` : brief.filter(Boolean).join(" · ");
  write(element("exporter-brief"), said);
  element("exporter").hidden = false;
  if (!element("exporter").open) return;
  const rows = children(element("datasets"), datasets.length, () => nest("tr", "th", "td", "td", "td"));
  rows.forEach((row, place) => fillDataset(row, datasets[place], now, silent));
  const told = silent ? [] : facts(state, now);
  const lines = children(element("facts"), told.length, () => nest("div", "dt", "dd"));
  lines.forEach((line, place) => [...line.children].forEach((each, part) => write(each, told[place][part])));
}

function failing(datasets) {
  const names = datasets.filter((each) => each.up === false).map((each) => each.title.toLowerCase());
  return names.length ? `failing: ${names.join(", ")}` : "";
}

/** Null is no fault: nothing was told yet, or there is no file to write to. */
function unwritten({ historyStored }) {
  return historyStored === false;
}

function nextPoll({ nextPoll: due, lastPoll }, now) {
  if (!due) return lastPoll ? `last poll ${format.duration(now - lastPoll.at)} ago` : "first poll under way";
  return due > now ? `next poll in ${format.duration(due - now)}` : "poll under way";
}

function calls({ calls: { lastMinute, allowed } }) {
  return allowed ? `${lastMinute} of ${allowed} calls in the last minute` : `${lastMinute} calls in the last minute`;
}

function fillDataset(row, { title, standing, up, stale, fetched, until }, now, silent) {
  const texts = [
    title,
    silent ? "unknown" : standing,
    until ? format.time(until, now) : "–",
    fetched ? `${format.duration(now - fetched)} ago` : "never",
  ];
  row.cells[0].scope = "row";
  row.cells[1].className = up === false || stale ? "bad" : "";
  texts.forEach((text, place) => write(row.cells[place], text));
}

function facts({ activity, historyBuckets }, now) {
  const { lastPoll, pollSeconds, pollsSkipped, service } = activity;
  const told = [["Polls", pollSeconds ? `every ${format.duration(pollSeconds * 1000)}, ${nextPoll(activity, now)}` : nextPoll(activity, now)]];
  if (lastPoll) {
    const outcome = { ok: "all well", partial: "some datasets failed", failed: "no data came" }[lastPoll.outcome];
    told.push(["Last poll", `${format.time(lastPoll.at, now)}, took ${lastPoll.seconds.toFixed(1)} s, ${outcome}`]);
  }
  if (pollsSkipped) told.push(["Polls skipped", `${pollsSkipped}, since the one before took too long`]);
  told.push(["API calls", calls(activity)]);
  if (service) told.push(["Genesys Cloud’s own limit", `${service.remaining} of ${service.allowed} calls left`]);
  if (historyBuckets !== null) {
    const written = activity.historyStored === null ? "" : unwritten(activity) ? ", not written to disk" : ", written to disk";
    told.push(["History", `${format.count(historyBuckets)} closed buckets${written}`]);
  }
  return told;
}
