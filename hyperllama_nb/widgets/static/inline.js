// Markdown within a line: text to a list of nodes, each a string or [tag, attributes, ...children].

const ESCAPED = /^\\([!"#$%&'*+,./:;<=>?@^_`{|}~-])/;
const CODE = /^(`+)(?!`)([\s\S]*?[^`])\1(?!`)/;
const LINK = /^(!?)\[((?:[^\[\]\\]|\\.)*)\]\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)/;
const AUTOLINK = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i;
const BARE = /^https?:\/\/[^\s<>"'`]*[^\s<>"'`.,:;!?)*_\]}]/i;
const BREAK = /^(?: {2,}|\\)\n/;
const PLAIN = /^(?:[^\\`!\[<h*_~\n ]+|h(?!ttps?:)|[ ](?! *\n))+/i;
const WORD = /[\p{L}\p{N}]/u;

/** Longest text that is searched for markup; a longer one is shown as it is. */
export const INLINE_LIMIT = 20000;

/** How far the end of a code span or a link may be from its beginning. */
const REACH = 4000;

/** Tell whether an address may be opened: no script, no file, nothing relative to the notebook. */
export function safeAddress(address) {
  return /^(?:https?:\/\/|mailto:)[^\s\u0000-\u001f\u007f]+$/i.test(address);
}

/** Return the nodes of a text. */
export function parseInline(text) {
  if (text.length > INLINE_LIMIT) return [text];
  return pairUp(tokensOf(text));
}

function link(address, children) {
  const attributes = { href: address, target: "_blank", rel: "noopener noreferrer" };
  return ["a", attributes, ...children];
}

/** Split a text into nodes and runs of `*`, `_` and `~~` that may open or close emphasis. */
function tokensOf(text) {
  const tokens = [];
  let place = 0;
  while (place < text.length) {
    // what opens and does not close must not make reading slow
    const rest = text.slice(place, place + REACH);
    const first = rest[0];
    let found;
    if ((found = PLAIN.exec(rest))) tokens.push(found[0]);
    else if (first === "\\" && (found = ESCAPED.exec(rest))) tokens.push(found[1]);
    else if ((found = BREAK.exec(rest))) tokens.push(["br", {}]);
    else if (first === "`" && (found = CODE.exec(rest))) {
      tokens.push(["code", {}, found[2].replace(/\n/g, " ").replace(/^ (.*[^ ].*) $/, "$1")]);
    } else if ((first === "[" || first === "!") && (found = LINK.exec(rest))) {
      // an image is not fetched: its text leads to it
      const shown = found[1] ? [found[2] || found[3]] : parseInline(found[2]);
      if (safeAddress(found[3])) tokens.push(link(found[3], shown));
      else tokens.push(found[0]);
    } else if (first === "<" && (found = AUTOLINK.exec(rest))) {
      tokens.push(link(found[1], [found[1]]));
    } else if ((first === "h" || first === "H") && (found = BARE.exec(rest))) {
      tokens.push(link(found[0], [found[0]]));
    } else if ((found = /^(?:\*+|_+|~~)/.exec(rest))) {
      tokens.push(run(found[0], text[place - 1] ?? " ", text[place + found[0].length] ?? " "));
    } else {
      found = /^`+/.exec(rest) ?? [first];
      tokens.push(found[0]);
    }
    place += found[0].length;
  }
  return tokens;
}

/** A run of emphasis marks between two characters, by CommonMark's rules of flanking. */
function run(marks, before, after) {
  const spaceBefore = /\s/.test(before);
  const spaceAfter = /\s/.test(after);
  const left = !spaceAfter && (WORD.test(after) || spaceBefore || !WORD.test(before));
  const right = !spaceBefore && (WORD.test(before) || spaceAfter || !WORD.test(after));
  const inWord = marks[0] === "_" && WORD.test(before) && WORD.test(after);
  return { mark: marks[0], count: marks.length, opens: left && !inWord, closes: right && !inWord };
}

/** Make emphasis of the runs that belong together, and text of the others. */
function pairUp(tokens) {
  const stack = [{ mark: "", children: [] }];
  const open = { "*": 0, _: 0, "~": 0 };
  const add = (node) => stack[stack.length - 1].children.push(node);
  // what nothing has closed is text, in the order in which it stands
  const flattenTo = (size) => {
    const { children } = stack[size - 1];
    for (const { mark, count, children: inner } of stack.splice(size)) {
      open[mark] -= 1;
      children.push(mark.repeat(count));
      for (const child of inner) children.push(child);
    }
  };
  for (const token of tokens) {
    if (typeof token === "string" || Array.isArray(token)) {
      add(token);
      continue;
    }
    let { mark, count } = token;
    while (token.closes && count > 0 && open[mark] > 0) {
      flattenTo(stack.findLastIndex((opener) => opener.mark === mark) + 1);
      const opener = stack[stack.length - 1];
      const used = mark === "~" ? 2 : Math.min(opener.count, count, 2);
      const tag = mark === "~" ? "del" : used === 2 ? "strong" : "em";
      const node = [tag, {}, ...joined(opener.children)];
      opener.count -= used;
      count -= used;
      opener.children = [];
      if (opener.count === 0) {
        stack.pop();
        open[mark] -= 1;
      }
      add(node);
    }
    if (count > 0 && token.opens) {
      stack.push({ mark, count, children: [] });
      open[mark] += 1;
    } else if (count > 0) add(mark.repeat(count));
  }
  flattenTo(1);
  return joined(stack[0].children);
}

/** Join neighbouring strings. */
function joined(nodes) {
  const result = [];
  for (const node of nodes) {
    if (typeof node === "string" && typeof result[result.length - 1] === "string") {
      result[result.length - 1] += node;
    } else result.push(node);
  }
  return result;
}
