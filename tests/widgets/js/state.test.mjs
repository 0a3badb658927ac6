import assert from "node:assert/strict";
import { test } from "node:test";

import { advance, IDLE, shownEntries } from "../../../hyperllama_nb/widgets/static/state.js";

const BEGIN = { type: "begin", keep: 2, question: "Q", model: "m" };
const delta = (text, at, thinking = "", from = 0) => ({ type: "delta", text, thinking, at: [at, from] });
const after = (...messages) => messages.reduce(advance, IDLE);

test("deltas grow the answer", () => {
  const state = after(BEGIN, delta("", 0, "hm"), delta("The ", 0, "", 2), delta("end", 4, "", 2));
  assert.deepEqual([state.text, state.thinking], ["The end", "hm"]);
});

test("what comes twice adds nothing", () => {
  const state = after(BEGIN, delta("The ", 0), delta("The end", 0), delta("end", 4));
  assert.equal(state.text, "The end");
});

test("what is missing is noticed", () => {
  assert.ok(after(BEGIN, delta("end", 4)).lost);
});

test("without a beginning nothing is shown", () => {
  assert.equal(after(delta("x", 0), { type: "status", text: "Loading" }), IDLE);
});

test("the line tells what is waited for", () => {
  assert.equal(after(BEGIN, { type: "status", text: "Loading m" }).line, "Loading m");
});

test("the log has the running turn in the place of what it replaces", () => {
  const log = [1, 2, 3, 4].map((n) => ({ role: n % 2 ? "user" : "assistant", content: `${n}` }));
  const shown = shownEntries(log, after(BEGIN, delta("A", 0)));
  assert.deepEqual(shown.map((entry) => entry.content), ["1", "2", "Q", "A"]);
  assert.equal(shown[0], log[0]);
  assert.ok(shown[3].open);
  assert.equal(shownEntries(log, IDLE), log);
});
