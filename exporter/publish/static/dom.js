// Touching the document as little as possible: what does not change keeps its element, so that nobody who reads or
// selects it loses their place. Texts only ever become text.

export const element = (id) => document.getElementById(id);

/** Text, touched only where it changes. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** As many children as wanted, made by `make()` where one is missing. */
export function children(parent, number, make) {
  while (parent.children.length > number) parent.lastElementChild.remove();
  while (parent.children.length < number) parent.append(make());
  return [...parent.children];
}

/** Elements of these kinds in a parent of its own: ["tr", "th", "td"] is a row with two cells. */
export function nest(kind, ...inner) {
  const made = document.createElement(kind);
  made.append(...inner.map((each) => document.createElement(each)));
  return made;
}
