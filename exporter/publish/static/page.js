// The live page, put together: the connection says that there is a new snapshot, the model fetches it, and the parts
// of the page draw it. Names of queues are hostile input: they only ever become text (`textContent`), never markup.

import { Connection } from "./connection.js";
import { element, write } from "./dom.js";
import { tellExporter } from "./exporter.js";
import { drawFindings, tellFindings, tellHeadline } from "./findings.js";
import * as format from "./format.js";
import { Model } from "./model.js";
import { standing } from "./standing.js";
import { QueueTable } from "./table.js";
import { Tools } from "./tools.js";
import { tellTotals } from "./totals.js";
import { Trends } from "./trends.js";

const TITLE = "Genesys Cloud queues";
const SETTLED_MILLISECONDS = 900; // a filter is announced when nobody has typed for this long

const model = new Model();
const trends = new Trends(model, drawTrends);
const table = new QueueTable(element("queues"), element("row"), model, trends, now);
const tools = new Tools(choose);
const connection = new Connection(hear, (why) => {
  silence = why;
  tell();
});

let state = null; // the exporter's last word
let silence = null; // why there is none at the moment
let ahead = 0; // by how much the exporter's clock is ahead of this one, in milliseconds
let behindSince = 0; // when a snapshot was announced that the page does not show yet
let loading = false;
let announceTimer = 0;
let announcedTroubles = null;

connection.start();
setInterval(tell, 1000);
element("exporter").addEventListener("toggle", tell);

/** The exporter's time: ages must not depend on this machine's clock. */
function now() {
  return Date.now() + ahead;
}

function hear(word) {
  state = word;
  silence = null;
  ahead = word.now - Date.now();
  if (word.tag !== model.numbers?.tag) {
    behindSince ||= performance.now();
    load();
  } else {
    behindSince = 0;
    followHistory();
  }
  tell();
}

/** Fetches names and numbers until they belong together and are the newest. */
async function load() {
  if (loading || state?.tag == null) return;
  loading = true;
  try {
    for (let tries = 0; tries < 3 && state.tag !== model.numbers?.tag; tries += 1) {
      const numbers = await fetched("/api/live/numbers");
      if (numbers.rows !== model.queues.rows) {
        const queues = await fetched("/api/live/queues");
        if (queues.rows !== numbers.rows) continue;
        await breath();
        model.takeQueues(queues);
        tools.offerMedia(model.mediaTypes);
      }
      await breath();
      const before = model.numbers?.tag;
      model.takeNumbers(numbers);
      await breath();
      show();
      if (numbers.tag !== state.tag && numbers.tag !== before) connection.ask(); // a newer one came meanwhile
      break;
    }
  } catch {
    connection.ask(); // says why, if the exporter is the reason
  } finally {
    loading = false;
  }
}

/** Lets the browser do what waits: each step for itself is short also at the largest orgs. */
function breath() {
  return new Promise((done) => setTimeout(done));
}

async function fetched(path) {
  const answer = await fetch(path, { cache: "no-cache", signal: AbortSignal.timeout(20_000) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

function show() {
  if (state.tag === model.numbers.tag) behindSince = 0;
  trends.follow(state.history);
  tellFindings(model, now());
  drawFindings(trends);
  announceTroubles(model.numbers.findings);
  choose(tools.choice, false);
  tell();
}

function followHistory() {
  if (model.numbers === null) return;
  trends.follow(state.history);
}

/** Shows the rows of a choice; `chosen` if a person has just made it. */
function choose(choice, chosen = true) {
  if (model.numbers === null) return;
  const rows = model.select(choice);
  table.show(rows);
  if (chosen) table.toTop();
  tellTotals(model, rows);
  const text = `${format.count(rows.length)} of ${format.count(model.rows)}`;
  write(element("count"), text);
  element("nothing").hidden = rows.length > 0 || model.rows === 0;
  if (!chosen) return;
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => announce(`${text} queues listed`), SETTLED_MILLISECONDS);
}

function drawTrends() {
  const head = `Last ${trends.span}`;
  if (trends.span) write(element("trend-head"), head);
  table.drawTrends();
  drawFindings(trends);
}

/** Every second: how old everything is, and whether it may be trusted. */
function tell() {
  const shown = model.numbers;
  const behind = behindSince ? performance.now() - behindSince : 0;
  const { kind, brief, alarm } = standing({ state, silence, shown, behind, now: now() });
  const failures = (silence ? null : state?.failures) ?? []; // an exporter of another version may not tell them
  const texts = [alarm, ...failures, outdated()].filter(Boolean);
  const root = document.documentElement;
  if (root.dataset.standing !== kind && root.dataset.standing !== "starting") {
    announce(kind === "live" ? "Up to date again" : alarm || brief);
  }
  root.dataset.standing = kind;
  write(element("standing-text"), brief);
  write(element("alarm"), texts.join(" "));
  element("alarm").hidden = !texts.length;
  if (state) tellExporter(state, now(), silence !== null);
  if (!shown) return;
  tellHeadline(shown, kind === "live", now());
  write(document.querySelector("title"), `${kind === "live" ? shown.headline : "Not current"} · ${TITLE}`);
}

/** The exporter behind an open page may have become another version. */
function outdated() {
  const mine = document.documentElement.dataset.version;
  return state?.page && state.page !== mine ? "The exporter was updated: load this page again." : "";
}

/** Only what is new is worth a word. */
function announceTroubles(findings) {
  const names = findings.map((found) => `${found.name} ${found.media}`);
  const fresh = announcedTroubles && findings.filter((_, place) => !announcedTroubles.includes(names[place]));
  announcedTroubles = names;
  if (fresh?.length) announce(`In trouble: ${fresh.map((found) => `${found.name}, ${found.text}`).join("; ")}`);
}

function announce(text) {
  element("announcer").textContent = text;
}
