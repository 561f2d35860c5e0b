// The last hours of the rows on the screen. In: rows that are to be seen. Out: what to draw for a row, as soon as it
// is known; `onArrival()` when more is. Asked for in one go per turn, kept until a bucket closes.

import * as format from "./format.js";

const BUCKET_COLUMNS = {
  abandonment_ratio: ["abandoned", "offered", "abandonedPercent", "abandoned"],
  sla_breach_ratio: ["slaBreached", "slaContacts", "slaBreachedPercent", "missed service level"],
  offered_contacts: ["offered", null, "offered", "offered"],
};
const MOST_ROWS = 200;

export class Trends {
  span = "";
  #model;
  #onArrival;
  #past = new Map();
  #wanted = new Set();
  #state = null;
  #queues = null;
  #timer = null;

  constructor(model, onArrival) {
    this.#model = model;
    this.#onArrival = onArrival;
  }

  /** The history's state by the exporter's last word: another one means that a bucket has closed. */
  follow(state) {
    if (state === this.#state && this.#queues === this.#model.queues.rows) return;
    if (this.#queues !== this.#model.queues.rows) this.#past.clear();
    this.#state = state;
    this.#queues = this.#model.queues.rows;
    for (const past of this.#past.values()) past.old = true;
  }

  /** What to draw for a row, null while it is on its way. */
  of(row) {
    const past = this.#past.get(row);
    if (!past || past.old) this.#want(row);
    return past ? this.#chart(row, past) : null;
  }

  #want(row) {
    if (!this.#state) return;
    this.#wanted.add(row);
    this.#timer ??= setTimeout(() => this.#fetch(), 60);
  }

  async #fetch() {
    const rows = [...this.#wanted].slice(0, MOST_ROWS);
    const queues = this.#queues;
    this.#wanted.clear();
    this.#timer = null;
    try {
      const answer = await fetch(`/api/live/trends?queues=${queues}&rows=${rows.join()}`, { cache: "no-store" });
      const past = answer.ok ? await answer.json() : {};
      if (!past.rows || queues !== this.#queues) return;
      this.span = format.span(past.step * past.buckets);
      for (const [row, counts] of Object.entries(past.rows)) this.#past.set(Number(row), { counts, old: false });
      this.#onArrival();
    } catch {
      // The connection tells; the rows are asked for again when they are drawn again.
    }
  }

  #chart(row, { counts }) {
    const model = this.#model;
    const metric = model.metric(row) ?? "abandonment_ratio";
    const [events, volume, column, words] = BUCKET_COLUMNS[metric];
    const values = counts[events].map((value, bucket) => {
      if (value === null || !volume) return value;
      return counts[volume][bucket] ? (100 * value) / counts[volume][bucket] : null;
    });
    const now = model.columns[column][row];
    const [mean, deviation] = [model.score(metric, "mean", row), model.score(metric, "stddev", row)];
    const reach = model.numbers.threshold * (deviation || 0);
    const usual = Number.isFinite(mean) ? { mean, low: mean - reach, high: mean + reach, lately: !volume } : null;
    const text = volume ? format.percent : format.count;
    const label = `${words}, last ${this.span}: highest ${text(Math.max(...values, 0))}, now ${text(now)}`;
    return { values, now, usual, grade: model.score(metric, "grade", row), label };
  }
}
