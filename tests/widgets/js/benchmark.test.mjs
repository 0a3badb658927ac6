// The objectives of a benchmark between slider and limit, and messages that do not come too often.

import assert from "node:assert/strict";
import { test } from "node:test";

import { paced } from "../../../hyperllama_nb/widgets/static/base.js";
import {
  LAST,
  LIMITS,
  limitAt,
  limitOf,
  limitWords,
  placeOf,
} from "../../../hyperllama_nb/widgets/static/benchmarklimits.js";

test("a slider reaches from the least limit to none, in rising steps of two digits", () => {
  for (const [, , least, most] of LIMITS) {
    const limits = [...Array(LAST).keys()].map((place) => limitAt(place, least, most));
    assert.equal(limits[0], least);
    assert.equal(limits[LAST - 1], most);
    assert.ok(limits.every((limit, place) => place === 0 || limit >= limits[place - 1]));
    assert.equal(limitAt(LAST, least, most), null);
  }
});

test("a limit that the slider set has its own place again, within its two digits", () => {
  for (const [, , least, most] of LIMITS) {
    for (let place = 0; place <= LAST; place += 1) {
      const again = placeOf(limitAt(place, least, most), least, most);
      assert.ok(Math.abs(again - place) <= 2, `${place} came back as ${again}`);
    }
  }
});

test("a limit beyond the slider is at its end, and is a limit", () => {
  assert.equal(placeOf(1e9, 1, 1000), LAST - 1);
  assert.equal(placeOf(0.01, 1, 1000), 0);
  assert.equal(placeOf(null, 1, 1000), LAST);
});

test("limits are read and said as people write them", () => {
  assert.equal(limitOf(" "), null);
  assert.equal(limitOf("250"), 250);
  assert.equal(limitOf("12.5"), 12.5);
  for (const wrong of ["-1", "0", "fast", "1e999"]) assert.equal(limitOf(wrong), undefined);
  assert.deepEqual([null, 20, 1500, 60000].map(limitWords), ["no limit", "20 ms", "1.5 s", "60 s"]);
});

test("what comes too often is told once, with its newest value", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 10_000 });
  const told = [];
  const tell = paced((value) => told.push(value), 100);
  tell("a");
  context.mock.timers.tick(1);
  tell("b");
  tell("c");
  assert.deepEqual(told, ["a"]);
  context.mock.timers.tick(98);
  assert.deepEqual(told, ["a"]);
  context.mock.timers.tick(2);
  assert.deepEqual(told, ["a", "c"]);
});
