// Markdown in blocks, read while it grows: text to nodes, without a document.
import { parseInline } from "./inline.js";

const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})\s*(\S*)/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])( {1,4}(?=\S)| *$)/;
const DIVIDER = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const BLANK = /^\s*$/;

/** How deep quotes and lists go; what is deeper is text. */
const DEPTH = 6;

/** Return the blocks of a text. */
export function parseMarkdown(text) {
  return parseBlocks(text.split("\n"), 0).map((block) => block.node);
}

/**
 * Text that grows. `append` returns `{done, open}`: the blocks that have just ended, which no later
 * text can change, and those that may still change.
 *
 * Only what comes after the last ended block is read again.
 */
export class GrowingMarkdown {
  constructor() {
    this.tail = "";
  }

  append(text) {
    this.tail += text;
    // a line that is not whole may turn out to be something else
    const lines = this.tail.split("\n");
    const blocks = parseBlocks(lines.slice(0, -1), 0);
    const ended = blocks.slice(0, -1);
    if (ended.length > 0) {
      this.tail = lines.slice(blocks[blocks.length - 1].line).join("\n");
    }
    return { done: ended.map((block) => block.node), open: parseMarkdown(this.tail) };
  }
}

/** Return the blocks of some lines as `{node, line}`, where `line` is the index of the first. */
function parseBlocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (BLANK.test(lines[at])) {
      at += 1;
      continue;
    }
    const [node, next] = readBlock(lines, at, depth);
    blocks.push({ node, line: at });
    at = next;
  }
  return blocks;
}

/** Return the block that begins at a line, and the index of the line after it. */
function readBlock(lines, at, depth) {
  const line = lines[at];
  let found;
  if ((found = FENCE.exec(line))) return readFence(lines, at, found);
  if ((found = HEADING.exec(line))) {
    return [[`h${found[1].length}`, {}, ...parseInline(found[2] ?? "")], at + 1];
  }
  if (RULE.test(line)) return [["hr", {}], at + 1];
  if (depth < DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEPTH && ITEM.test(line)) return readList(lines, at, depth);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at);
}

function readFence(lines, at, [, indent, marks, language]) {
  const closing = new RegExp(`^ {0,3}\\${marks[0]}{${marks.length},}\\s*$`);
  const code = [];
  let next = at + 1;
  while (next < lines.length && !closing.test(lines[next])) {
    code.push(lines[next].replace(new RegExp(`^ {0,${indent.length}}`), ""));
    next += 1;
  }
  return [codeBlock(language, code.join("\n")), next + 1];
}

/** A block of code under its language and a button, which the view listens to. */
function codeBlock(language, code) {
  const button = {
    type: "button",
    "data-copy": "code",
    "aria-label": `Copy the code${language ? ` (${language})` : ""}`,
  };
  const head = ["div", { class: "hl-code-head" }, ["span", {}, language], ["button", button, "Copy"]];
  return ["div", { class: "hl-code" }, head, ["pre", { tabindex: 0 }, ["code", {}, code]]];
}

function readQuote(lines, at, depth) {
  let next = at;
  while (next < lines.length && QUOTE.test(lines[next])) next += 1;
  const inner = lines.slice(at, next).map((line) => line.replace(QUOTE, ""));
  return [["blockquote", {}, ...nodesOf(inner, depth + 1)], next];
}

/** Read items of one kind; what is indented as far as an item's text belongs to it. */
function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const ordered = first[3] !== undefined;
  const kind = first[2].slice(-1);
  const items = [];
  let loose = false;
  let next = at;
  while (next < lines.length) {
    const found = ITEM.exec(lines[next]);
    if (!found || found[2].slice(-1) !== kind || RULE.test(lines[next])) break;
    const width = found[1].length + found[2].length + (found[4].length || 1);
    const inner = [lines[next].slice(found[0].length)];
    next += 1;
    let blank = 0;
    while (next < lines.length) {
      const line = lines[next];
      if (BLANK.test(line)) blank += 1;
      // models indent by two or by four, whatever the mark: two are enough
      else if (/^ */.exec(line)[0].length >= Math.min(width, 2)) {
        if (blank > 0) loose = true;
        inner.push(...Array(blank).fill(""), line.slice(Math.min(width, /^ */.exec(line)[0].length)));
        blank = 0;
      } else if (blank > 0 || ITEM.test(line) || startsBlock(lines, next)) break;
      else inner.push(line);
      next += 1;
    }
    items.push(inner);
    if (blank > 0 && next < lines.length && ITEM.test(lines[next])) loose = true;
  }
  const children = items.map((inner) => ["li", {}, ...itemNodes(inner, depth + 1, loose)]);
  const start = ordered && first[3] !== "1" ? { start: Number(first[3]) } : {};
  return [[ordered ? "ol" : "ul", start, ...children], next];
}

/** Return an item's nodes; without blank lines between items its text needs no paragraph. */
function itemNodes(lines, depth, loose) {
  const nodes = nodesOf(lines, depth);
  if (loose) return nodes;
  return nodes.flatMap((node) => (node[0] === "p" ? node.slice(2) : [node]));
}

function nodesOf(lines, depth) {
  return parseBlocks(lines, depth).map((block) => block.node);
}

function isTable(lines, at) {
  return (
    lines[at].includes("|") &&
    at + 1 < lines.length &&
    DIVIDER.test(lines[at + 1]) &&
    cellsOf(lines[at]).length === cellsOf(lines[at + 1]).length
  );
}

function readTable(lines, at) {
  const sides = cellsOf(lines[at + 1]).map((cell) => {
    if (cell.endsWith(":")) return cell.startsWith(":") ? "center" : "right";
    return "left";
  });
  const row = (line, tag) => {
    const cells = cellsOf(line);
    return [
      "tr",
      {},
      ...sides.map((side, index) => [
        tag,
        { ...(tag === "th" ? { scope: "col" } : {}), class: `hl-${side}` },
        ...parseInline(cells[index] ?? ""),
      ]),
    ];
  };
  let next = at + 2;
  while (next < lines.length && lines[next].includes("|") && !BLANK.test(lines[next])) next += 1;
  const rows = lines.slice(at + 2, next).map((line) => row(line, "td"));
  return [["table", {}, ["thead", {}, row(lines[at], "th")], ["tbody", {}, ...rows]], next];
}

function cellsOf(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function readParagraph(lines, at) {
  let next = at + 1;
  while (next < lines.length && !BLANK.test(lines[next]) && !startsBlock(lines, next)) next += 1;
  const text = lines.slice(at, next).map((line) => line.replace(/^\s+/, "")).join("\n");
  return [["p", {}, ...parseInline(text.trimEnd())], next];
}

/** Tell whether a line ends the paragraph before it. */
function startsBlock(lines, at) {
  const line = lines[at];
  const item = ITEM.exec(line);
  return (
    FENCE.test(line) ||
    (HEADING.test(line) && !/^ {0,3}#+$/.test(line.trimEnd())) ||
    RULE.test(line) ||
    QUOTE.test(line) ||
    (item !== null && item[0].length < line.length && (item[3] ?? "1") === "1") ||
    isTable(lines, at)
  );
}
