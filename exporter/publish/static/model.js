// The rows behind the page: names and numbers of one snapshot, and which rows to show in which order. In: the
// documents of /api/live. Out: values by row, lists of rows. No row is ever an object: 10,000 of them stay cheap.

/** What can be sorted by: column of the table → [words, where the values stand, whether large ones come first]. */
export const SORTS = {
  unusual: ["most unusual", null, true],
  name: ["name", null, false],
  abandoned: ["abandoned", "abandonedPercent", true],
  breached: ["missed service level", "slaBreachedPercent", true],
  offered: ["offered", "offered", true],
  waiting: ["waiting", "waiting", true],
  agents: ["agents free", "agentsFree", false],
};

const numbersOf = (list) => Float64Array.from(list, (value) => (value === null ? NaN : value));

export class Model {
  numbers = null; // the head of the document: tag, window, findings, totals …
  rows = 0;
  queues = { rows: null, ids: [], names: [], media: [], divisions: [] };
  columns = {};
  scores = {};
  order = [];
  grade = [];
  worst = [];
  mediaTypes = [];
  #texts = [];
  #byName = new Int32Array();
  #rank = new Int32Array();

  /** Who the queues are. */
  takeQueues(queues) {
    this.queues = queues;
    this.rows = queues.names.length;
    this.#texts = queues.names.map((name, row) => `${name}\n${queues.ids[row]}`.toLowerCase());
    this.mediaTypes = [...new Set(queues.media)].filter(Boolean).sort();
    this.#byName = Int32Array.from(queues.byName);
  }

  /** How they stand; `numbers.rows` must be the queues' own. */
  takeNumbers(numbers) {
    const { columns, scores, order, grade, worst, ...head } = numbers;
    this.numbers = head;
    this.columns = Object.fromEntries(Object.entries(columns).map(([name, list]) => [name, numbersOf(list)]));
    this.scores = Object.fromEntries(
      Object.entries(scores).map(([metric, lists]) => [
        metric,
        Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, numbersOf(list)])),
      ]),
    );
    this.order = Int32Array.from(order);
    this.grade = grade;
    this.worst = worst;
    this.#rank = new Int32Array(order.length);
    this.order.forEach((row, place) => (this.#rank[row] = place));
  }

  /** The most unusual metric of a row, null where nothing is scored. */
  metric(row) {
    return this.worst[row] < 0 ? null : this.numbers.metrics[this.worst[row]];
  }

  score(metric, name, row) {
    return this.scores[metric]?.[name][row] ?? NaN;
  }

  /** Rows that match, in order. The filter means what /export.csv means by it. */
  select({ text, media, flagged, sort, reversed }) {
    const wanted = text.toLowerCase();
    const { queues, grade } = this;
    const matches = (row) =>
      (!media || queues.media[row] === media) &&
      (!flagged || grade[row] > 0) &&
      (!wanted || this.#texts[row].includes(wanted));
    return this.#sorted(sort, reversed).filter(matches);
  }

  #sorted(sort, reversed) {
    if (sort === "unusual") return reversed ? this.order.toReversed() : this.order;
    if (sort === "name") return reversed ? this.#byName.toReversed() : this.#byName;
    const [, column, largeFirst] = SORTS[sort];
    const direction = largeFirst !== reversed ? -1 : 1;
    const values = this.columns[column];
    const rank = this.#rank;
    return Int32Array.from(this.order).sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === y) return rank[a] - rank[b];
      if (x !== x || y !== y) return x === x ? -1 : y === y ? 1 : rank[a] - rank[b]; // no value: last, both ways
      return direction * (x - y);
    });
  }
}
