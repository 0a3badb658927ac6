// The rows of the models widget as plain data.

import assert from "node:assert/strict";
import { test } from "node:test";

import { COLUMNS, label, nextSort, patch, percent, shown } from "../../../hyperllama_nb/widgets/static/modelrows.js";

const row = (name, fields = {}) => ({ name, text: "in the store", state: "stored", ...fields });
const names = (rows) => rows.map((one) => one.name);

test("a delta replaces, adds, orders and removes rows", () => {
  const rows = [row("a"), row("b"), row("c")];
  const message = { type: "rows", rows: [row("b", { text: "loaded" }), row("d")], order: ["d", "b", "a"] };
  const after = patch(rows, message);
  assert.deepEqual(names(after), ["d", "b", "a"]);
  assert.equal(after[1].text, "loaded");
  assert.equal(after[2], rows[0]);
});

test("a whole state replaces everything", () => {
  assert.deepEqual(patch([row("a")], { type: "state", rows: [row("b")] }), [row("b")]);
});

test("a name that the order has and no row is left out", () => {
  assert.deepEqual(patch([], { type: "rows", rows: [], order: ["a"] }), []);
});

test("the filter takes every word, in name, state and verdict", () => {
  const rows = [row("llama:1b", { memory_text: "1 GB, fits" }), row("llama:70b", { memory_text: "does not fit" })];
  assert.deepEqual(names(shown(rows, "LLAMA not", null)), ["llama:70b"]);
  assert.deepEqual(names(shown(rows, "  ", null)), ["llama:1b", "llama:70b"]);
  assert.deepEqual(names(shown(rows, "qwen", null)), []);
});

test("what is not known comes last in both directions", () => {
  const rows = [row("a", { size: null }), row("b", { size: 2 }), row("c", { size: 10 })];
  const by = (descending) => names(shown(rows, "", { column: "size", descending }));
  assert.deepEqual(by(false), ["b", "c", "a"]);
  assert.deepEqual(by(true), ["c", "b", "a"]);
  assert.deepEqual(names(rows), ["a", "b", "c"]);
});

test("parameters are sorted as numbers, states by how near a model is to its answer", () => {
  const rows = [row("a", { parameters: "8.0B" }), row("b", { parameters: "134.52M" })];
  assert.deepEqual(names(shown(rows, "", { column: "parameters", descending: false })), ["b", "a"]);
  const states = [row("a", { state: "catalog" }), row("b"), row("c", { state: "loaded" })];
  assert.deepEqual(names(shown(states, "", { column: "state", descending: false })), ["c", "b", "a"]);
});

test("a heading sorts upwards, downwards, and not", () => {
  const first = nextSort(null, "size");
  assert.deepEqual(first, { column: "size", descending: false });
  const second = nextSort(first, "size");
  assert.deepEqual(second, { column: "size", descending: true });
  assert.equal(nextSort(second, "size"), null);
  assert.deepEqual(nextSort(second, "name"), { column: "name", descending: false });
});

test("a share is whole, and unknown without a total", () => {
  assert.equal(percent({ done: 43, total: 100 }), 43);
  assert.equal(percent({ done: 999, total: 1000 }), 99);
  assert.equal(percent({ done: 5, total: null }), null);
  assert.equal(percent(null), null);
});

test("each button says which model it is for", () => {
  assert.deepEqual(label("pull", "a:1"), { text: "Pull", spoken: "Pull a:1" });
  assert.ok(label("cancel", "a:1").spoken.endsWith("a:1"));
  assert.equal(new Set(COLUMNS.map(([column]) => column)).size, COLUMNS.length);
});
