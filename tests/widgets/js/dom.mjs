// As much of a document as the tests need: nodes that remember how often they were changed.

class Node {
  constructor(name) {
    this.nodeName = name;
    this.parent = null;
    this.changes = 0;
  }
}

class Text extends Node {
  constructor(value) {
    super("#text");
    this.value = value;
  }

  get nodeValue() {
    return this.value;
  }

  set nodeValue(value) {
    this.value = value;
    this.changes += 1;
  }

  get textContent() {
    return this.value;
  }
}

class Element extends Node {
  constructor(name) {
    super(name);
    this.attributes = {};
    this.childNodes = [];
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  appendChild(node) {
    this.childNodes.push(node);
    this.changes += 1;
    return node;
  }

  replaceChild(node, old) {
    this.childNodes.splice(this.childNodes.indexOf(old), 1, node);
    this.changes += 1;
  }

  removeChild(node) {
    this.childNodes.splice(this.childNodes.indexOf(node), 1);
    this.changes += 1;
  }

  get textContent() {
    return this.childNodes.map((child) => child.textContent).join("");
  }

  /** What a browser would show, as markup. */
  get markup() {
    const inner = this.childNodes.map((child) => child.markup ?? child.value).join("");
    return `<${this.nodeName}>${inner}</${this.nodeName}>`;
  }
}

export const document = {
  createElement: (name) => new Element(name),
  createTextNode: (value) => new Text(value),
};
