// What the views of the widgets share: making elements, and the form that a saved notebook keeps.

/**
 * Make an element: `h("button", { type: "button", onclick: f }, "Send")`.
 *
 * Attributes that are functions become listeners, true and false set and leave out an attribute.
 * Children are elements or text: text from a model can never become markup.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * Keep keys without Ctrl, Cmd or Alt from JupyterLab while they are meant for what is in `root`.
 *
 * Its shortcuts of one letter would delete the cell, and Shift+Enter in a text would run it. Those
 * with Ctrl, such as saving, go on to work. Returns what ends it.
 */
export function keepKeys(root) {
  const look = (event) => {
    if (!root.contains(event.target)) return;
    const plain = !(event.ctrlKey || event.metaKey || event.altKey);
    // on the element itself: JupyterLab looks at it before it looks further up
    event.target.toggleAttribute("data-lm-suppress-shortcuts", plain);
  };
  // JupyterLab listens on the document before anything inside it hears of a key
  window.addEventListener("keydown", look, true);
  return () => window.removeEventListener("keydown", look, true);
}

/** Hide the widget's kept form while a view lives; returns what shows it again. */
export function hideKept(model) {
  const kept = `.hl-kept-${model.get("_kept_id")}`;
  const rule = `${kept}, .jp-OutputArea-child:has(${kept}) { display: none !important; }`;
  const style = h("style", {}, rule);
  document.head.append(style);
  return () => style.remove();
}

/**
 * Break the line of a textarea at Shift+Enter; tells whether it was that key.
 *
 * JupyterLab keeps a browser from doing so anywhere inside a cell.
 */
export function breakLine(event) {
  const field = event.target;
  if (event.key !== "Enter" || !event.shiftKey || field.tagName !== "TEXTAREA") return false;
  event.preventDefault();
  field.setRangeText("\n", field.selectionStart, field.selectionEnd, "end");
  return true;
}

/** Give a region for screen readers that says a line once: `say("Done")`. */
export function announcer() {
  const region = h("div", { class: "hl-unseen", role: "status", "aria-live": "polite" });
  return { region, say: (line) => void (region.textContent = line) };
}

const ALIVE = 60_000; // milliseconds; the kernel forgets a view that is silent for ten minutes

/** Tell the kernel while somebody can see `root`: it does not draw for nobody. Returns the end. */
export function tellSeen(model, root) {
  const view = crypto.randomUUID?.() ?? String(Math.random());
  let inside = false;
  let visible = null;
  const tell = () => {
    const now = inside && document.visibilityState === "visible";
    if (now !== visible) model.send({ type: now ? "visible" : "hidden", view });
    visible = now;
  };
  const alive = setInterval(() => visible && model.send({ type: "visible", view }), ALIVE);
  const observer = new IntersectionObserver((entries) => {
    inside = entries[entries.length - 1].isIntersecting;
    tell();
  });
  observer.observe(root);
  document.addEventListener("visibilitychange", tell);
  return () => {
    clearInterval(alive);
    observer.disconnect();
    document.removeEventListener("visibilitychange", tell);
    if (visible) model.send({ type: "hidden", view });
  };
}

/**
 * Return a function that calls `act` with the newest value, at most once in `pause` milliseconds.
 *
 * The last value always comes through, late if need be.
 */
export function paced(act, pause) {
  let timer = 0;
  let due = 0;
  let newest;
  return (value) => {
    newest = value;
    timer ||= setTimeout(() => {
      timer = 0;
      due = Date.now() + pause;
      act(newest);
    }, Math.max(0, due - Date.now()));
  };
}
