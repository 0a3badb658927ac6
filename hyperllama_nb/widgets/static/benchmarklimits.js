// Objectives between a slider, whose steps are even in proportion, and a limit in milliseconds.

/** Name, label, and the least and greatest limit in milliseconds that the slider reaches. */
export const LIMITS = [
  ["ttft", "Time to first token", 1, 60_000],
  ["tpot", "Time per output token", 1, 2_000],
  ["e2e", "End-to-end latency", 10, 600_000],
];

/** The last place of a slider, which sets no limit. */
export const LAST = 200;

/** Return the limit at a place of the slider, of two digits; null for none. */
export function limitAt(place, least, most) {
  if (place >= LAST) return null;
  return Number((least * (most / least) ** (place / (LAST - 1))).toPrecision(2));
}

/** Return the place of a limit; the nearest one where it has none of its own. */
export function placeOf(limit, least, most) {
  if (limit == null) return LAST;
  const place = (LAST - 1) * (Math.log(limit / least) / Math.log(most / least));
  return Math.round(Math.min(LAST - 1, Math.max(0, place)));
}

/** Return a limit as people read it. */
export function limitWords(limit) {
  if (limit == null) return "no limit";
  return limit < 1000 ? `${limit} ms` : `${Number((limit / 1000).toPrecision(3))} s`;
}

/** Return the limit that a text says in milliseconds; null for none, undefined for no number. */
export function limitOf(text) {
  if (!text.trim()) return null;
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : undefined;
}
