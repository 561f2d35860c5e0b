// Filter and order of the list. In: what people type, tick and press. Out: `onChange(choice)`; the same choice in the
// address, so that a link or a reload brings it back, and in the links to /export.csv and /dashboard.

import { element } from "./dom.js";
import { SORTS } from "./model.js";

const FIELDS = ["filter", "media", "sort"];

export class Tools {
  #onChange;
  #reversed = false;

  constructor(onChange) {
    this.#onChange = onChange;
    this.#headers((header, sort) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => this.#sortBy(sort));
      header.replaceChildren(button);
    });
    element("sort").replaceChildren(...Object.entries(SORTS).map(([sort, [words]]) => new Option(words, sort)));
    this.#fromAddress();
    element("filter").addEventListener("input", () => this.#changed());
    element("media").addEventListener("change", () => this.#changed());
    element("flagged").addEventListener("change", () => this.#changed());
    element("sort").addEventListener("change", () => this.#sortBy(element("sort").value, false));
    element("clear").addEventListener("click", () => this.#clear());
    this.#show();
    element("tools").hidden = false;
  }

  /** What is chosen now. */
  get choice() {
    return {
      text: element("filter").value.trim(),
      media: element("media").value,
      flagged: element("flagged").checked,
      sort: element("sort").value,
      reversed: this.#reversed,
    };
  }

  /** The media types that there are; a choice stays. */
  offerMedia(mediaTypes) {
    const select = element("media");
    const offered = [...select.options].slice(1).map((option) => option.value);
    const wanted = new Set([...mediaTypes, select.value].filter(Boolean));
    if (offered.length === wanted.size && offered.every((each) => wanted.has(each))) return;
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...[...wanted].map((each) => new Option(each, each)));
    select.value = chosen;
  }

  #sortBy(sort, reversed = element("sort").value === sort && !this.#reversed) {
    element("sort").value = sort;
    this.#reversed = reversed;
    this.#changed();
  }

  #clear() {
    element("filter").value = element("media").value = "";
    element("flagged").checked = false;
    this.#changed();
    element("filter").focus();
  }

  #changed() {
    this.#show();
    history.replaceState(null, "", this.#address());
    this.#onChange(this.choice);
  }

  #show() {
    const { text, media, flagged, sort, reversed } = this.choice;
    this.#headers((header, mine) => {
      const falling = SORTS[mine][2] !== reversed;
      if (mine === sort) header.setAttribute("aria-sort", falling ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
    const query = new URLSearchParams();
    if (text) query.set("queue", `*${text.replace(/[*?[]/g, "[$&]")}*`);
    if (media) query.set("media_type", media);
    if (flagged) query.set("anomalous", "true");
    const tail = query.size ? `?${query}` : "";
    for (const link of document.querySelectorAll("[data-csv]")) link.href = `/export.csv${tail}`;
    element("json").href = `/dashboard${tail}`;
  }

  #headers(visit) {
    for (const header of document.querySelectorAll("th[data-sort]")) visit(header, header.dataset.sort);
  }

  #address() {
    const { text, media, flagged, sort, reversed } = this.choice;
    const kept = new URLSearchParams();
    if (text) kept.set("filter", text);
    if (media) kept.set("media", media);
    if (flagged) kept.set("flagged", "1");
    if (sort !== "unusual" || reversed) kept.set("sort", `${reversed ? "-" : ""}${sort}`);
    return kept.size ? `#${kept}` : location.pathname;
  }

  #fromAddress() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const sort = (kept.get("sort") ?? "").replace(/^-/, "");
    this.#reversed = (kept.get("sort") ?? "").startsWith("-");
    if (kept.get("media")) this.offerMedia([kept.get("media")]);
    for (const field of FIELDS) if (kept.get(field)) element(field).value = kept.get(field);
    element("sort").value = sort in SORTS ? sort : "unusual";
    element("flagged").checked = kept.has("flagged");
  }
}
