import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMarkdown } from "../../../hyperllama_nb/widgets/static/markdown.js";
import { build, MarkdownView, patch } from "../../../hyperllama_nb/widgets/static/tree.js";
import { document } from "./dom.mjs";

const TEXT = `# Title

Some *words* and \`code\`.

- one
- two
  - three

| a | b |
|---|---|
| 1 | 2 |

\`\`\`python
print("<b>")
\`\`\`

The end.`;

function whole(text) {
  const element = document.createElement("div");
  for (const node of parseMarkdown(text)) element.appendChild(build(node, document));
  return element;
}

test("text that grows ends as the same elements as text that is there at once", () => {
  for (const size of [1, 2, 7, 50]) {
    const element = document.createElement("div");
    const view = new MarkdownView(element, document);
    for (let at = 0; at < TEXT.length; at += size) view.append(TEXT.slice(at, at + size));
    assert.equal(element.markup, whole(TEXT).markup);
  }
});

test("what has ended keeps its elements and is not touched", () => {
  const element = document.createElement("div");
  const view = new MarkdownView(element, document);
  view.append("# Title\n\nFirst.\n\nSecond");
  const [title, first, second] = element.childNodes;
  const before = title.changes + first.changes;
  for (const character of " and more of it.\n\nThird") view.append(character);
  assert.deepEqual(element.childNodes.slice(0, 2), [title, first]);
  assert.equal(title.changes + first.changes, before);
  assert.equal(element.childNodes[2], second);
  assert.equal(second.textContent, "Second and more of it.");
});

test("a block of code that grows changes one text", () => {
  const element = document.createElement("div");
  const view = new MarkdownView(element, document);
  view.append("```js\nlet a;");
  const pre = element.childNodes[0].childNodes[1];
  const text = pre.childNodes[0].childNodes[0];
  for (let index = 0; index < 100; index += 1) view.append(`\nlet b${index};`);
  assert.equal(element.childNodes[0].childNodes[1], pre);
  assert.equal(pre.childNodes[0].childNodes[0], text);
  assert.ok(text.value.endsWith("let b99;"));
});

test("children that are too many go, and another element replaces", () => {
  const element = document.createElement("div");
  const before = ["a", ["b", {}, "x"], ["i", {}, "y"]];
  patch(element, [], before, 0, document);
  const after = ["a", ["b", { class: "c" }, "x"]];
  patch(element, before, after, 0, document);
  assert.equal(element.markup, "<div>a<b>x</b></div>");
  assert.equal(element.childNodes[1].attributes.class, "c");
});

test("a text never becomes an element or an attribute that runs", () => {
  const hostile = '<img src=x onerror=alert(1)> [a](javascript:x) ![b](data:x) <https://a"onclick="b>';
  const names = [];
  const walk = (node) => {
    names.push(node.nodeName, ...Object.keys(node.attributes ?? {}));
    for (const child of node.childNodes ?? []) walk(child);
  };
  walk(whole(hostile));
  assert.deepEqual([...new Set(names)].sort(), ["#text", "a", "div", "href", "p", "rel", "target"]);
});
