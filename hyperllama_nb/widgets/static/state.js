// The answer that is being written, as far as a view knows it.

/** The state before anything is asked. */
export const IDLE = { running: false };

/**
 * Return the state after a message of the kernel, and the text that is new to it.
 *
 * Deltas say where they begin, so that one which comes twice adds nothing. `lost` tells that one is
 * missing: the view then asks for everything again.
 */
export function advance(state, message) {
  if (message.type === "begin") {
    const { keep, question, model } = message;
    return { running: true, keep, question, model, text: "", thinking: "", line: "" };
  }
  if (!state.running) return state;
  if (message.type === "status") return { ...state, line: message.text };
  if (message.type !== "delta") return state;
  const text = fresh(state.text, message.text, message.at[0]);
  const thinking = fresh(state.thinking, message.thinking, message.at[1]);
  if (text === null || thinking === null) return { ...state, lost: true };
  return { ...state, text: state.text + text, thinking: state.thinking + thinking };
}

/** Return the part of a delta that is not there yet; null if something before it is missing. */
function fresh(known, delta, at) {
  if (at > known.length) return null;
  return delta.slice(known.length - at);
}

/** Return what the log shows: the messages, with the turn that is being written in its place. */
export function shownEntries(log, state) {
  if (!state.running) return log;
  const { question, model, text, thinking } = state;
  return [
    ...log.slice(0, state.keep),
    { role: "user", content: question },
    { role: "assistant", content: text, thinking, model, open: true },
  ];
}
