// All listed queues together. In: the model and the rows in the list. Out: five figures above it.

import { element, write } from "./dom.js";
import * as format from "./format.js";

const MEDIA_TOLD = 3;

/** Sums over the rows; they follow the filter. */
export function tellTotals(model, rows) {
  const { columns, grade, queues } = model;
  const sum = (column) => rows.reduce((total, row) => total + (columns[column][row] || 0), 0);
  const [offered, abandoned, breached, volume] = ["offered", "abandoned", "slaBreached", "slaContacts"].map(sum);
  const beyond = rows.reduce((total, row) => total + (grade[row] > 0 ? 1 : 0), 0);
  const texts = {
    listed: format.count(rows.length),
    listedMore: `${format.count(beyond)} beyond the threshold`,
    offered: format.count(offered),
    offeredMore: byMedia(rows, columns.offered, queues.media),
    abandoned: offered ? format.percent((100 * abandoned) / offered) : "–",
    abandonedMore: `${format.count(abandoned)} contacts`,
    breached: volume ? format.percent((100 * breached) / volume) : "–",
    breachedMore: `${format.count(breached)} of ${format.count(volume)} contacts`,
    waiting: format.count(sum("waiting")),
    waitingMore: byMedia(rows, columns.waiting, queues.media),
  };
  for (const [name, text] of Object.entries(texts)) write(document.querySelector(`[data-total=${name}]`), text);
  element("totals").hidden = false;
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
