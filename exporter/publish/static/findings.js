// The sentences above the list: which queues are in trouble, and why. In: the findings that the exporter has put into
// words, the trends. Out: text and charts.

import { children, element, write } from "./dom.js";
import * as format from "./format.js";
import { draw } from "./sparkline.js";

const TROUBLE = 2;

/** What is not current is told as what it was, and when. */
export function tellHeadline({ headline, status, created }, live, now) {
  const then = live ? headline : `As of ${format.time(created, now)}: ${headline}`;
  write(element("headline"), status === "success" ? then : "No current data");
}

export function tellFindings(model, now) {
  const { findings, window, status, threshold } = model.numbers;
  const current = status === "success";
  const span = current && window ? `In the ${format.span(window[1] - window[0])} to ${format.time(window[1], now)}` : "";
  write(element("when"), span);
  write(element("threshold"), threshold === null ? "the threshold" : String(threshold));
  const blank = element("finding").content.firstElementChild;
  const items = children(element("findings"), findings.length, () => blank.cloneNode(true));
  items.forEach((item, place) => fill(item, findings[place]));
  const troubled = model.grade.reduce((total, grade) => total + (grade === TROUBLE ? 1 : 0), 0);
  const further = troubled - findings.filter((found) => found.row !== null).length;
  element("further").hidden = further <= 0;
  write(element("further"), `and ${format.count(further)} more, first in the list`);
}

/** The charts come later than the words. */
export function drawFindings(trends) {
  for (const item of element("findings").children) {
    const chart = item.dataset.row ? trends.of(Number(item.dataset.row)) : null;
    const svg = item.querySelector("svg");
    if (chart) draw(svg, chart, 260, 48);
    else svg.replaceChildren();
  }
}

function fill(item, found) {
  const texts = { ...found, media: found.media ? `(${found.media})` : "" };
  item.dataset.row = found.row ?? "";
  for (const place of item.querySelectorAll("[data-to]")) {
    if (place.dataset.to in texts) write(place, texts[place.dataset.to]);
  }
}
