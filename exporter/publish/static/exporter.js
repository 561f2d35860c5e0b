// What the exporter itself is doing, in words. In: its last state, the exporter's time. Out: text in the page.

import * as format from "./format.js";

const DATASETS = {
  queues: "Queue directory",
  window: "Current window",
  history: "Closed buckets",
  observations: "Waiting contacts and agents",
};
const element = (id) => document.getElementById(id);

/** One line that tells the age of the data, the next poll and the calls; then everything. */
export function tellExporter(state, now) {
  const { activity, datasets } = state;
  const window = datasets.find((each) => each.name === "window");
  const brief = [
    window?.fetched ? `data fetched ${format.duration(now - window.fetched)} ago` : "no data yet",
    nextPoll(activity, now),
    calls(activity),
    failing(datasets),
  ];
  write(element("exporter-brief"), brief.filter(Boolean).join(" · "));
  element("exporter").hidden = false;
  if (!element("exporter").open) return;
  element("datasets").replaceChildren(...datasets.map((each) => datasetRow(each, now)));
  element("facts").replaceChildren(...facts(state, now).flatMap(([what, text]) => [cell("dt", what), cell("dd", text)]));
}

/** What has failed, a sentence each; empty while all is well. */
export function failures(datasets) {
  return datasets
    .filter((each) => each.up === false)
    .map((each) => `${DATASETS[each.name] ?? each.name}: ${each.message ?? "failed"}.`);
}

function failing(datasets) {
  const names = datasets.filter((each) => each.up === false).map((each) => (DATASETS[each.name] ?? each.name).toLowerCase());
  return names.length ? `failing: ${names.join(", ")}` : "";
}

function nextPoll({ nextPoll: due, lastPoll }, now) {
  if (!due) return lastPoll ? `last poll ${format.duration(now - lastPoll.at)} ago` : "first poll under way";
  return due > now ? `next poll in ${format.duration(due - now)}` : "poll under way";
}

function calls({ calls: { lastMinute, allowed } }) {
  return allowed ? `${lastMinute} of ${allowed} calls in the last minute` : `${lastMinute} calls in the last minute`;
}

function datasetRow({ name, up, stale, fetched, until, message }, now) {
  const row = document.createElement("tr");
  const standing = up === false ? `failing: ${message ?? "no reason given"}` : up === null ? "not fetched yet" : "good";
  const title = cell("th", DATASETS[name] ?? name);
  title.scope = "row";
  row.append(
    title,
    cell("td", stale ? `withdrawn as stale; ${standing}` : standing, up === false || stale ? "bad" : ""),
    cell("td", until ? format.time(until, now) : "–"),
    cell("td", fetched ? `${format.duration(now - fetched)} ago` : "never"),
  );
  return row;
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
  if (historyBuckets !== null) told.push(["History", `${format.count(historyBuckets)} closed buckets`]);
  return told;
}

function cell(kind, text, className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = className;
  return made;
}

function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
