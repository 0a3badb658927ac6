// What the models widget shows, as plain data: rows, their order, and the words of a button.

/** The columns that can be sorted by: the field of a row, and the heading. */
export const COLUMNS = [
  ["name", "Model"],
  ["parameters", "Parameters"],
  ["quantization", "Quantization"],
  ["size", "Size"],
  ["state", "State"],
  ["memory", "Memory here"],
];

const STATES = ["loaded", "asleep", "loading", "unloading", "stored", "pulling", "partial"];

const LABELS = {
  pull: ["Pull", "Pull"],
  cancel: ["Cancel", "Cancel the pull of"],
  resume: ["Resume", "Go on with the pull of"],
  dismiss: ["Dismiss", "Forget the pull of"],
  load: ["Load", "Load"],
  unload: ["Unload", "Unload"],
  pin: ["Pin", "Keep in memory:"],
  unpin: ["Unpin", "Keep no longer than usual:"],
  remove: ["Remove", "Remove"],
};

/** Return the text of a button, and what a screen reader says of it. */
export function label(action, name) {
  const [text, spoken] = LABELS[action];
  return { text, spoken: `${spoken} ${name}` };
}

/** Return the rows after a message: those that it has replace those of the same name. */
export function patch(rows, message) {
  if (message.type === "state") return message.rows;
  const known = new Map(rows.map((row) => [row.name, row]));
  for (const row of message.rows) known.set(row.name, row);
  return message.order.map((name) => known.get(name)).filter((row) => row !== undefined);
}

/** Return the rows to show: those that have the words of the filter, in the order asked for. */
export function shown(rows, filter, sort) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => {
    const parts = [row.name, row.quantization, row.text, row.memory_text, row.description];
    const text = parts.join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (!sort) return found;
  const sign = sort.descending ? -1 : 1;
  return found.sort((a, b) => {
    const [first, second] = [value(a, sort.column), value(b, sort.column)];
    // What is not known comes last, whichever way the rest goes.
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (typeof first === "string" ? first.localeCompare(second) : first - second);
  });
}

/** Return the order after a click on a heading: upwards, downwards, then as the rows came. */
export function nextSort(sort, column) {
  if (sort?.column !== column) return { column, descending: false };
  return sort.descending ? null : { column, descending: true };
}

/** Return the share of a pull in whole percent; null where the size is not known. */
export function percent(progress) {
  if (!progress?.total) return null;
  return Math.floor((100 * Math.min(progress.done, progress.total)) / progress.total);
}

function value(row, column) {
  if (column === "state") return STATES.includes(row.state) ? STATES.indexOf(row.state) : 99;
  if (column === "parameters") return count(row.parameters);
  return row[column] || null;
}

/** Return the number that "134.52M" writes, or null. */
function count(text) {
  const found = /^([\d.]+)([KMBT]?)/.exec(text ?? "");
  if (!found) return null;
  return Number(found[1]) * { "": 1, K: 1e3, M: 1e6, B: 1e9, T: 1e12 }[found[2]];
}
