// A small chart of one row's last hours: the band of what is usual, the line of what was, a dot for what is now.
// In: percentages (or contacts) by bucket, null where there is none. Out: shapes inside a given <svg>, with its text as
// a tooltip; for those who do not see it the text stands beside it.

const SVG = "http://www.w3.org/2000/svg";
const EDGE = 4;
const LATELY = 0.85; // where the end of the chart begins
const DOT_CLASSES = ["now", "now flagged", "now trouble"]; // by grade, in the colours of the list

function shape(kind, className, attributes) {
  const element = document.createElementNS(SVG, kind);
  element.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/**
 * `usual`: {mean, low, high} as of now or null; `lately`: it holds for the end of the chart alone, since contacts come
 * and go with the hours of the day. `now`: the current window's value, NaN for none.
 */
export function draw(svg, { values, now, usual, grade, label }, width, height) {
  const known = [...values, now].filter(Number.isFinite);
  const top = Math.max(1e-9, ...known, usual ? usual.high : 0) * 1.04;
  const x = (place) => EDGE + (place * (width - 2 * EDGE)) / values.length;
  const y = (value) => height - EDGE - (Math.max(0, value) * (height - 2 * EDGE)) / top;
  const title = document.createElementNS(SVG, "title");
  title.textContent = label;
  const shapes = [title];
  if (usual) {
    const [above, below, from] = [y(usual.high), y(usual.low), usual.lately ? width * LATELY : 0];
    shapes.push(shape("rect", "band", { x: from, y: above, width: width - from, height: Math.max(1, below - above) }));
    shapes.push(shape("line", "mean", { x1: from, x2: width, y1: y(usual.mean), y2: y(usual.mean) }));
  }
  shapes.push(shape("path", "line", { d: line([...values, now], x, y) }));
  if (Number.isFinite(now)) {
    const dot = { cx: x(values.length), cy: y(now), r: 2.75 };
    shapes.push(shape("circle", DOT_CLASSES[grade] ?? "now", dot));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...shapes);
}

/** A path with a gap where there is no value; a value between two gaps is a short dash. */
function line(values, x, y) {
  const parts = [];
  let drawing = false;
  values.forEach((value, place) => {
    const here = Number.isFinite(value);
    if (here) parts.push(`${drawing ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}${drawing ? "" : "h.1"}`);
    drawing = here;
  });
  return parts.join("");
}
