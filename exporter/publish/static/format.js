// Numbers and times as people read them. In: numbers, NaN or null for "no value". Out: text, "–" for no value.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const count = (value) => (known(value) ? whole.format(value) : NONE);
/** 1 contact, 2 contacts */
export const counted = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
export const percent = (value) => (known(value) ? `${tenth.format(value)} %` : NONE);

/** +4.2, −0.3, 0.0 */
export function z(value) {
  if (!known(value)) return NONE;
  const text = tenth.format(Math.abs(value));
  return text === "0.0" ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** What is usual, in percent or in contacts; many contacts without a fraction. */
export function usual(mean, deviation, inContacts) {
  if (!known(mean)) return "";
  const text = inContacts && mean >= 10 ? whole : tenth;
  return known(deviation) ? `usually ${text.format(mean)} ± ${text.format(deviation)}` : `usually ${text.format(mean)}`;
}

/** 45 s · 4 min · 2 h 5 min · 3 d */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}

/** A length that is said, not counted down: 15 minutes, 12 hours, 2 days. */
export function span(milliseconds) {
  const minutes = Math.round(milliseconds / 60_000);
  const units = [
    [1440, "day"],
    [60, "hour"],
    [1, "minute"],
  ];
  const [length, unit] = units.find(([each]) => minutes >= 2 * each && minutes % each === 0) ?? [1, "minute"];
  const number = minutes / length;
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

/** A waiting time that a glance compares: 0:45, 12:04, 2.1 h. */
export function stopwatch(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds >= 3600) return `${tenth.format(seconds / 3600)} h`;
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** 10:29, with the day where that is not today. */
export function time(milliseconds, now) {
  if (!known(milliseconds)) return NONE;
  const moment = new Date(milliseconds);
  const today = moment.toDateString() === new Date(now).toDateString();
  return today ? clock.format(moment) : `${day.format(moment)}, ${clock.format(moment)}`;
}
