import assert from "node:assert/strict";
import { test } from "node:test";

import { safeAddress } from "../../../hyperllama_nb/widgets/static/inline.js";
import { GrowingMarkdown, parseMarkdown } from "../../../hyperllama_nb/widgets/static/markdown.js";

/** Markup for a test to read: what a browser would show of the nodes. */
export function markup(nodes) {
  return nodes
    .map((node) => {
      if (typeof node === "string") return node.replace(/&/g, "&amp;").replace(/</g, "&lt;");
      const [tag, attributes, ...children] = node;
      if (attributes.class === "hl-code") {
        const [head, pre] = children;
        const language = markup(head[2].slice(2));
        return `<pre${language ? ` ${language}` : ""}>${markup(pre[2].slice(2))}</pre>`;
      }
      if (tag === "a") return `<a ${attributes.href}>${markup(children)}</a>`;
      const start = attributes.start ? ` ${attributes.start}` : "";
      return `<${tag}${start}>${markup(children)}</${tag}>`;
    })
    .join("");
}

const CASES = [
  ["plain", "<p>plain</p>"],
  ["one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"],
  ["# Title #\n## **B**", "<h1>Title</h1><h2><strong>B</strong></h2>"],
  ["#hashtag", "<p>#hashtag</p>"],
  ["a **b** *c* _d_ __e__ ~~f~~", "<p>a <strong>b</strong> <em>c</em> <em>d</em> <strong>e</strong> <del>f</del></p>"],
  ["***both***", "<p><em><strong>both</strong></em></p>"],
  ["**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"],
  ["snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"],
  ["**open and *open", "<p>**open and *open</p>"],
  ["`code *x*` and ``a ` b``", "<p><code>code *x*</code> and <code>a ` b</code></p>"],
  ["an ` alone", "<p>an ` alone</p>"],
  ["\\*not\\* \\(x\\)", "<p>*not* \\(x\\)</p>"],
  ["line  \nbreak\\\nagain", "<p>line<br></br>break<br></br>again</p>"],
  ["[t *x*](https://a.b/c_(d) \"title\")", "<p><a https://a.b/c_(d)>t <em>x</em></a></p>"],
  ["[t](javascript:alert(1)) [u](data:x) [v](/etc/x)", "<p>[t](javascript:alert(1)) [u](data:x) [v](/etc/x)</p>"],
  ["![alt](https://a.b/i.png)", "<p><a https://a.b/i.png>alt</a></p>"],
  ["see https://a.b/c. <mailto:x@y.z>", "<p>see <a https://a.b/c>https://a.b/c</a>. <a mailto:x@y.z>mailto:x@y.z</a></p>"],
  ["<script>alert(1)</script>", "<p>&lt;script>alert(1)&lt;/script></p>"],
  ["- a\n- b\n  more\n- c", "<ul><li>a</li><li>b\nmore</li><li>c</li></ul>"],
  ["- a\n  - b\n    - c\n- d", "<ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ul>"],
  ["* a\n    * b", "<ul><li>a<ul><li>b</li></ul></li></ul>"],
  ["1. a\n2. b\n3. c", "<ol><li>a</li><li>b</li><li>c</li></ol>"],
  ["4) a\n5) b", "<ol 4><li>a</li><li>b</li></ol>"],
  ["- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"],
  ["1. a\n   ```py\n   x\n     y\n   ```\n2. b", "<ol><li>a<pre py>x\n  y</pre></li><li>b</li></ol>"],
  ["- a\n\ntext", "<ul><li>a</li></ul><p>text</p>"],
  ["- a\n* b", "<ul><li>a</li></ul><ul><li>b</li></ul>"],
  ["text\n- a", "<p>text</p><ul><li>a</li></ul>"],
  ["The year\n1999. was good", "<p>The year\n1999. was good</p>"],
  ["```python\nx = '<b>'\n\n# y\n```\nafter", "<pre python>x = '&lt;b>'\n\n# y</pre><p>after</p>"],
  ["~~~\n```\n~~~", "<pre>```</pre>"],
  ["````\n```\n````", "<pre>```</pre>"],
  ["```js\nopen", "<pre js>open</pre>"],
  ["> quoted\n> - item\n\nout", "<blockquote><p>quoted</p><ul><li>item</li></ul></blockquote><p>out</p>"],
  ["a\n\n---\n\nb\n***", "<p>a</p><hr></hr><p>b</p><hr></hr>"],
  [
    "| a | b |\n|---|:-:|\n| 1 | `x\\|y` |\n| 2 |\n\nend",
    "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td><code>x|y</code></td></tr>" +
      "<tr><td>2</td><td></td></tr></tbody></table><p>end</p>",
  ],
  ["a | b", "<p>a | b</p>"],
];

for (const [text, expected] of CASES) {
  test(JSON.stringify(text), () => assert.equal(markup(parseMarkdown(text)), expected));
}

/** Feed a text in pieces and return all that is shown at the end. */
function grown(text, pieces) {
  const growing = new GrowingMarkdown();
  const done = [];
  let open = [];
  let at = 0;
  for (const size of pieces) {
    const found = growing.append(text.slice(at, at + size));
    at += size;
    done.push(...found.done);
    open = found.open;
  }
  return [...done, ...open];
}

const ALL = CASES.map(([text]) => text);
const WHOLE = [ALL.join("\n\n"), ALL.join("\n"), ALL.toReversed().join("\n"), ALL.toReversed().join("\n\n")];

test("however a text is cut, the same is shown in the end", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (const text of WHOLE) {
    const expected = markup(parseMarkdown(text));
    for (const most of [1, 3, 17, 80]) {
      const pieces = [];
      for (let left = text.length; left > 0; left -= pieces.at(-1)) {
        pieces.push(1 + Math.floor(random() * most));
      }
      assert.equal(markup(grown(text, pieces)), expected);
    }
  }
});

test("only the block at the end is read again", () => {
  const growing = new GrowingMarkdown();
  for (let index = 0; index < 500; index += 1) {
    growing.append(`Paragraph ${index} of some words.\n\n`);
    assert.ok(growing.tail.length < 100);
  }
});

test("hostile texts take no long time", () => {
  const long = 20000;
  for (const unit of ["*", "_a_ *b", "[", "[a](", "`", "` `` ", "<", "> ", "- ", "|", "~~", "\\", "  ", "![", "*a ", "h"]) {
    const text = unit.repeat(Math.ceil(long / unit.length));
    const begun = Date.now();
    for (const shape of [text, `| ${text} |\n|---|`, `- ${text}`]) parseMarkdown(shape);
    assert.ok(Date.now() - begun < 5000, `${JSON.stringify(unit)} took ${Date.now() - begun} ms`);
  }
});

test("addresses that may be opened", () => {
  for (const good of ["https://a.b", "HTTP://a.b/c?d#e", "mailto:x@y.z"]) assert.ok(safeAddress(good), good);
  for (const bad of ["javascript:x", " https://a", "java\nscript:x", "//a.b", "file:///x", "data:text/html,x", "vbscript:x", ""]) {
    assert.ok(!safeAddress(bad), bad);
  }
});
