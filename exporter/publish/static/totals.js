// All listed queues together. In: the model and the rows in the list. Out: five figures above it; what no row has a
// value for has none here either, so that withdrawn data do not read as a quiet hour.

import { element, write } from "./dom.js";
import * as format from "./format.js";

const MEDIA_TOLD = 3;

/** Sums over the rows; they follow the filter. */
export function tellTotals(model, rows) {
  const { columns, queues } = model;
  const [offered, abandoned, breached, volume, waiting] = ["offered", "abandoned", "slaBreached", "slaContacts", "waiting"].map(
    (name) => sum(rows, columns[name], model.rows > 0),
  );
  const texts = {
    listed: format.count(rows.length),
    listedMore: listed(model, rows),
    offered: format.count(offered),
    offeredMore: byMedia(rows, columns.offered, queues.media),
    abandoned: offered ? format.percent((100 * abandoned) / offered) : "–",
    abandonedMore: abandoned === null ? "" : format.counted(abandoned, "contact"),
    breached: volume ? format.percent((100 * breached) / volume) : "–",
    breachedMore: volume === null ? "" : `${format.count(breached)} of ${format.counted(volume, "contact")}`,
    waiting: format.count(waiting),
    waitingMore: byMedia(rows, columns.waiting, queues.media),
  };
  for (const [name, text] of Object.entries(texts)) write(document.querySelector(`[data-total=${name}]`), text);
  element("totals").hidden = false;
}

/** Null where no row has a value; 0 where there are rows (`any`) and none is listed. */
function sum(rows, column, any) {
  let [total, known] = [0, any && rows.length === 0];
  for (const row of rows) {
    if (Number.isNaN(column[row])) continue;
    total += column[row];
    known = true;
  }
  return known ? total : null;
}

/** `40 queues · 1 beyond threshold`: a queue has a row for each of its media types. */
function listed({ grade, queues, numbers }, rows) {
  const ids = new Set(Array.from(rows, (row) => queues.ids[row])).size;
  const beyond = rows.reduce((total, row) => total + (grade[row] > 0 ? 1 : 0), 0);
  const scored = numbers.threshold === null ? "not scored now" : `${format.count(beyond)} beyond threshold`;
  return ids === rows.length ? scored : `${format.counted(ids, "queue")} · ${scored}`;
}

/** `email 1,089, voice 31`: the largest first. */
function byMedia(rows, column, media) {
  const sums = new Map();
  for (const row of rows) sums.set(media[row], (sums.get(media[row]) ?? 0) + (column[row] || 0));
  return [...sums]
    .filter(([name, total]) => name && total)
    .sort((a, b) => b[1] - a[1])
    .slice(0, MEDIA_TOLD)
    .map(([name, total]) => `${name} ${format.count(total)}`)
    .join(", ");
}
