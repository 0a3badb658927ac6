// A benchmark: what is compared, how far it is, and the pictures and tables that the kernel makes.
import { h, keepKeys, hideKept, announcer, paced, tellSeen } from "./base.js";
import { choices, objectives } from "./benchmarkform.js";

const TALK = 2000; // milliseconds between two sentences to a screen reader

const SURE = 4000; // milliseconds in which a second press throws the numbers away

const BUTTONS = { start: "Start", pause: "Pause", resume: "Go on" };

/** The parts that can be folded away, and whether they are open at first. */
const FOLDED = [
  ["numbers", "Numbers", false],
  ["fairness", "Is it a fair comparison?", true],
  ["loads", "Load times", true],
];

function render({ model, el }) {
  const id = `hl-${Math.random().toString(36).slice(2)}`;
  let state = model.get("_state");
  let sure = 0; // the timer of a question that waits for a second press
  const { region, say } = announcer();
  const tell = paced(say, TALK);
  const send = (type) => state.status.actions.includes(type) && model.send({ type });

  const form = choices(model, id);
  const limits = objectives(model);
  const setup = h("details", { open: !state.status.planned }, h("summary", {}, "What is compared"), form.element);
  const main = h("button", { type: "button", class: "hl-primary", onclick: press });
  const stop = h("button", { type: "button", onclick: () => send("stop") }, "Stop");
  const extend = h("button", { type: "button", onclick: () => send("extend") }, "+3 blocks");
  const bar = h("progress", { "aria-label": "Requests made" });
  const line = h("span", { class: "hl-line" });
  const count = h("span", { class: "hl-muted" });
  const notice = h("p", { class: "hl-error", role: "alert", hidden: true });

  const places = new Map();
  const part = (name, label) => {
    const place = h("div", { class: "hl-scroll hl-fragments", role: "group", "aria-label": label });
    places.set(name, { place, html: "" });
    return place;
  };
  const metric = h("select", { onchange: look });
  const cell = h("select", { onchange: look });
  const folded = FOLDED.map(([name, label, open]) =>
    h("details", { open }, h("summary", {}, label), part(name, label)),
  );
  const within = h("p", { class: "hl-within" });
  const results = h(
    "div",
    { class: "hl-results" },
    part("verdict", "Verdict"),
    h(
      "div",
      { class: "hl-row" },
      h("label", { class: "hl-row" }, "Number", metric),
      h("label", { class: "hl-row" }, "Load", cell),
    ),
    h(
      "div",
      { class: "hl-pictures" },
      part("curves", "Median so far"),
      part("ecdf", "Distribution"),
      part("load", "Against the load"),
    ),
    h("h3", {}, "Objectives"),
    limits.element,
    within,
    part("goodput", "Within the objectives"),
    ...folded,
  );
  const root = h(
    "section",
    { class: "hl-widget hl-benchmark", "aria-label": "Benchmark" },
    setup,
    h("div", { class: "hl-row hl-controls" }, main, stop, extend, bar, line, count),
    notice,
    results,
    region,
  );
  el.append(root);

  function press() {
    const action = state.status.actions.find((each) => each in BUTTONS);
    if (!action) return;
    if (action === "start" && state.status.done && !sure) {
      main.textContent = "Forget these numbers and start anew?";
      sure = setTimeout(calm, SURE);
      return;
    }
    calm();
    send(action);
  }

  function calm() {
    clearTimeout(sure);
    sure = 0;
    drawControls();
  }

  function look() {
    model.send({ type: "look", metric: metric.value, cell: cell.value });
  }

  function drawControls() {
    const { actions, done, planned, text, notice: words } = state.status;
    const action = actions.find((each) => each in BUTTONS);
    if (!sure) main.textContent = action === "start" && done ? "Start anew" : BUTTONS[action ?? "start"];
    // a button that is disabled would lose the focus to nothing
    main.setAttribute("aria-disabled", String(!action));
    for (const [button, name] of [[stop, "stop"], [extend, "extend"]]) {
      button.setAttribute("aria-disabled", String(!actions.includes(name)));
    }
    bar.hidden = !planned;
    bar.max = planned || 1;
    bar.value = done;
    if (line.textContent !== text) tell(text);
    line.textContent = text;
    count.textContent = planned ? `${done} of ${planned} requests` : "";
    notice.hidden = !words;
    if (notice.textContent !== words) notice.textContent = words;
  }

  function drawLook() {
    const options = (pairs) => pairs.map(([value, label]) => h("option", { value }, label));
    if (metric.options.length !== state.metrics.length) metric.replaceChildren(...options(state.metrics));
    const cells = [...cell.options].map((option) => option.value);
    if (cells.join("\n") !== state.cells.join("\n")) {
      cell.replaceChildren(...options(state.cells.map((name) => [name, name])));
    }
    metric.value = state.look.metric;
    cell.value = state.look.cell;
  }

  /** Put the fragments that changed in their places; what is around them stays as it is. */
  function drawParts() {
    for (const [name, shown] of places) {
      const html = state.parts[name] ?? "";
      if (html === shown.html) continue;
      shown.html = html;
      place(shown.place, html);
    }
    for (const { place, html } of places.values()) {
      place.hidden = !html;
      if (place.parentElement.localName === "details") place.parentElement.hidden = !html;
    }
    results.hidden = !state.cells.length;
    reach();
  }

  /** Let Tab reach those parts that can be scrolled by keys, and no others. */
  function reach() {
    for (const { place } of places.values()) {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
      else place.removeAttribute("tabindex");
    }
  }

  /** Show the state, of which some fields are new: the others may be older than what is seen. */
  function draw(changed) {
    if ("form" in changed || "known" in changed) form.fill(state);
    form.mark(state);
    if ("objectives" in changed) limits.fill(state);
    drawControls();
    drawLook();
    drawParts();
    if (within.textContent !== state.told) {
      within.textContent = state.told;
      if (limits.element.contains(root.getRootNode().activeElement)) tell(state.told);
    }
  }

  function received({ type, parts, ...changed }) {
    if (type !== "show") return;
    const began = state.status.state !== "running" && changed.status?.state === "running";
    state = { ...state, ...changed, parts: { ...state.parts, ...parts } };
    if (began && !state.status.done) setup.open = false;
    draw(changed);
  }

  draw(state);
  const fit = new ResizeObserver(reach);
  fit.observe(root);
  model.on("msg:custom", received);
  const [unsee, giveKeys, showKept] = [tellSeen(model, root), keepKeys(root), hideKept(model)];
  return () => {
    clearTimeout(sure);
    fit.disconnect();
    unsee();
    model.off("msg:custom", received);
    giveKeys();
    showKept();
  };
}

/** Put a fragment in its place; what is unfolded in it stays so, and keeps the focus. */
function place(element, html) {
  const before = [...element.querySelectorAll("details")];
  const focused = before.findIndex((one) => one.contains(element.getRootNode().activeElement));
  // the kernel makes the fragment, and escapes what is not its own
  element.innerHTML = html;
  [...element.querySelectorAll("details")].forEach((one, index) => {
    one.open = before[index]?.open ?? one.open;
    if (index === focused) one.querySelector("summary").focus();
  });
}

export default { render };
