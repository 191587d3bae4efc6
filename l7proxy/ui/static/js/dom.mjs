// Making elements. Text enters the page as text nodes and attributes' values, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Whether the page is one column that scrolls; the style sheet has the same width. */
export const ONE_COLUMN = matchMedia("(max-width: 900px)");

/** An HTML element with attributes (null and false are left out) and children or text. */
export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets attributes that differ; null and false remove them. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

/** Sets the text where it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function byId(id) {
  return document.getElementById(id);
}

function filled(element, attributes, children) {
  set(element, attributes);
  element.append(...children);
  return element;
}
