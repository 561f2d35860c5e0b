// The list of queues as a real table that holds only the rows on the screen, and empty space for all others: 10,000
// rows scroll like fifty. In: the model and the rows to show, in order. Out: rows in the document, `aria-rowindex`
// telling where they stand. A row keeps its element while it stays on the screen, so that nobody loses their place.

import { write } from "./dom.js";
import * as format from "./format.js";
import { draw } from "./sparkline.js";

const BEYOND_SCREEN = 6;
const DRAWING_MILLISECONDS = 12; // of a frame's 16
const NARROW = window.matchMedia("(max-width: 60rem)"); // where page.css makes cards of the rows
const METRIC_WORDS = {
  abandonment_ratio: "abandoned",
  sla_breach_ratio: "service level",
  offered_contacts: "offered",
};
const GRADE_CLASSES = ["z", "z flagged", "z trouble"];

export class QueueTable {
  #model;
  #trends;
  #now;
  #table;
  #body;
  #blank;
  #above = spacer();
  #below = spacer();
  #rows = [];
  #elements = new Map();
  #range = [0, 0];
  #height = 0;
  #frame = 0;
  #undrawn = [];

  /** `now()` is the exporter's time in milliseconds. */
  constructor(table, blank, model, trends, now) {
    [this.#table, this.#body, this.#blank] = [table, table.tBodies[0], blank.content.firstElementChild];
    [this.#model, this.#trends, this.#now] = [model, trends, now];
    window.addEventListener("scroll", () => this.#soon(), { passive: true });
    window.addEventListener("resize", () => {
      this.#height = 0;
      this.#soon();
    });
    NARROW.addEventListener("change", () => this.drawTrends());
  }

  /** Shows these rows; their numbers may have changed too. */
  show(rows) {
    this.#rows = rows;
    this.#table.setAttribute("aria-rowcount", String(rows.length + 1));
    this.#paint(true);
  }

  /** Draws the charts that have arrived, some in each frame. */
  drawTrends() {
    this.#undrawn = [...this.#elements];
    this.#drawSome();
  }

  #drawSome() {
    const end = performance.now() + DRAWING_MILLISECONDS;
    while (this.#undrawn.length && performance.now() < end) {
      const [row, element] = this.#undrawn.shift();
      this.#drawTrend(element.places, row);
    }
    if (this.#undrawn.length) requestAnimationFrame(() => this.#drawSome());
  }

  /** Where the list begins must be seen after the rows have become others. */
  toTop() {
    const top = this.#table.getBoundingClientRect().top;
    if (top < 0) window.scrollBy(0, top - 60);
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint(false);
    });
  }

  #paint(all) {
    const [first, end] = this.#onScreen();
    if (!all && first === this.#range[0] && end === this.#range[1]) return;
    this.#range = [first, end];
    const shown = this.#rows.slice(first, end);
    const kept = new Map();
    const elements = Array.from(shown, (row, place) => {
      const known = this.#elements.get(row);
      const element = known ?? this.#blank.cloneNode(true);
      kept.set(row, element);
      if (all || !known) this.#fill(element, row);
      element.setAttribute("aria-rowindex", String(first + place + 2));
      return element;
    });
    this.#elements = kept;
    this.#above.firstChild.style.height = `${first * this.#height}px`;
    this.#below.firstChild.style.height = `${(this.#rows.length - end) * this.#height}px`;
    arrange(this.#body, [this.#above, ...elements, this.#below]);
    if (!this.#height && elements.length) this.#measure(elements[0]);
  }

  /** Half-open range of places that are to be in the document. */
  #onScreen() {
    if (!this.#height) return [0, Math.min(this.#rows.length, 30)];
    const top = -this.#body.getBoundingClientRect().top / this.#height;
    const first = Math.floor(top) - BEYOND_SCREEN;
    const end = Math.ceil(top + window.innerHeight / this.#height) + BEYOND_SCREEN;
    const inside = (place) => Math.max(0, Math.min(this.#rows.length, place));
    return [inside(first), inside(end)];
  }

  #measure(element) {
    this.#height = element.getBoundingClientRect().height;
    if (this.#height) this.#paint(false);
  }

  #fill(element, row) {
    const { columns, queues, grade } = this.#model;
    const metric = this.#model.metric(row);
    element.places ??= Object.fromEntries(
      Array.from(element.querySelectorAll("[data-to]"), (each) => [each.dataset.to, each]),
    );
    const to = element.places;
    write(to.name, queues.names[row]);
    to.name.title = queues.names[row];
    write(to.about, [queues.media[row], queues.divisions[row]].filter(Boolean).join(" · "));
    write(to.z, metric ? format.z(this.#model.score(metric, "z", row)) : "–");
    to.z.className = GRADE_CLASSES[grade[row]];
    write(to.metric, METRIC_WORDS[metric] ?? "");
    element.className = grade[row] === 2 ? "trouble" : "";
    this.#scored(to, "abandoned", "abandonment_ratio", format.percent(columns.abandonedPercent[row]), row);
    this.#scored(to, "breached", "sla_breach_ratio", format.percent(columns.slaBreachedPercent[row]), row);
    this.#scored(to, "offered", "offered_contacts", format.count(columns.offered[row]), row);
    this.#waiting(to, row);
    this.#drawTrend(to, row);
  }

  #drawTrend(to, row) {
    const chart = this.#trends.of(row);
    if (chart) draw(to.trend, chart, ...(NARROW.matches ? [320, 44] : [180, 34]));
    else to.trend.replaceChildren();
    write(to.trendText, chart?.label ?? "");
  }

  /** A value, its z, and what is usual. */
  #scored(to, name, metric, text, row) {
    const [z, mean, deviation] = ["z", "mean", "stddev"].map((each) => this.#model.score(metric, each, row));
    write(to[name], text);
    to[name].className = ["", "flagged", "trouble"][this.#model.score(metric, "grade", row)] ?? "";
    write(to[`${name}Z`], Number.isFinite(z) ? `z ${format.z(z)}` : "");
    write(to[`${name}Usual`], format.usual(mean, deviation, metric === "offered_contacts"));
  }

  #waiting(to, row) {
    const { waiting, waitingSince, agentsFree, agentsOnQueue } = this.#model.columns;
    write(to.waiting, format.count(waiting[row]));
    const since = waitingSince[row];
    write(to.longest, since > 0 ? `longest ${format.stopwatch(this.#now() - since)}` : "");
    write(to.agents, format.count(agentsFree[row]));
    to.agents.classList.toggle("trouble", waiting[row] > 0 && agentsFree[row] === 0);
    write(to.agentsOf, agentsOnQueue[row] >= 0 ? `of ${format.count(agentsOnQueue[row])} on queue` : "");
  }
}

function spacer() {
  const row = document.createElement("tr");
  row.className = "space";
  row.setAttribute("aria-hidden", "true");
  row.append(document.createElement("td")); // one cell: spanning a hidden column would give that its width again
  return row;
}

/** Makes these the children, moving as few of them as that takes. */
function arrange(parent, wanted) {
  const staying = new Set(wanted);
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const element of wanted) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}
