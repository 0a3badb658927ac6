// Markdown's nodes in a document. Only elements and text are made: no text becomes markup.
import { GrowingMarkdown } from "./markdown.js";

/** Make the element or text of a node `[tag, attributes, ...children]` or string. */
export function build(node, doc = document) {
  if (typeof node === "string") return doc.createTextNode(node);
  const [tag, attributes, ...children] = node;
  const element = doc.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  for (const child of children) element.appendChild(build(child, doc));
  return element;
}

/**
 * Make the children of `parent` from index `first` on, which show `before`, show `after`.
 *
 * What is the same stays: a selection in it lives on, and nothing of it is laid out again.
 */
export function patch(parent, before, after, first = 0, doc = document) {
  after.forEach((node, index) => {
    const old = before[index];
    const shown = parent.childNodes[first + index];
    if (old === undefined) parent.appendChild(build(node, doc));
    else if (typeof node === "string" && typeof old === "string") {
      if (node !== old) shown.nodeValue = node;
    } else if (sameElement(old, node)) patch(shown, old.slice(2), node.slice(2), 0, doc);
    else parent.replaceChild(build(node, doc), shown);
  });
  for (let index = before.length; index > after.length; index -= 1) {
    parent.removeChild(parent.childNodes[first + index - 1]);
  }
}

function sameElement(old, node) {
  return (
    typeof old !== "string" &&
    typeof node !== "string" &&
    old[0] === node[0] &&
    JSON.stringify(old[1]) === JSON.stringify(node[1])
  );
}

/** Markdown that grows inside an element: what has ended is never touched again. */
export class MarkdownView {
  constructor(element, doc = document) {
    this.element = element;
    this.doc = doc;
    this.text = "";
    this.ended = 0;
    this.open = [];
    this.growing = new GrowingMarkdown();
  }

  append(text) {
    this.text += text;
    const { done, open } = this.growing.append(text);
    patch(this.element, this.open, [...done, ...open], this.ended, this.doc);
    this.ended += done.length;
    this.open = open;
  }
}
