// Numbers and times as people read them. In: numbers, NaN or null for "no value". Out: text, "–" for no value.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const count = (value) => (known(value) ? whole.format(value) : NONE);
export const percent = (value) => (known(value) ? `${tenth.format(value)} %` : NONE);
export const z = (value) => (known(value) ? `${value < 0 ? "−" : "+"}${tenth.format(Math.abs(value))}` : NONE);

/** What is usual, in percent or in contacts. */
export function usual(mean, deviation, inContacts) {
  if (!known(mean)) return "";
  const text = inContacts ? whole : tenth;
  return `usually ${text.format(mean)} ± ${text.format(deviation)}`;
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

/** A waiting time that a glance compares: 0:45, 12:04, 2:05:00. */
export function stopwatch(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => (place ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** 10:29, with the day where that is not today. */
export function time(milliseconds, now) {
  if (!known(milliseconds)) return NONE;
  const moment = new Date(milliseconds);
  const today = moment.toDateString() === new Date(now).toDateString();
  return today ? clock.format(moment) : `${day.format(moment)}, ${clock.format(moment)}`;
}
