// The strip above a monitor's figure: its numbers in words, and what can be done with it.

import { h } from "./base.js";

function length(seconds) {
  return seconds < 120 ? `${seconds} s` : `${seconds / 60} min`;
}

function render({ model, el }) {
  const text = h("p", { class: "hl-numbers", role: "status", "aria-live": "polite" });
  const pause = h("button", { type: "button", onclick: turn });
  const stop = h("button", { type: "button", onclick: () => model.send({ type: "stop" }) }, "Stop");
  stop.title = "End the monitor and keep its figure";
  const windows = h("select", { onchange: choose });
  windows.append(
    ...model.get("windows").map((each) => h("option", { value: each }, length(each))),
  );
  const controls = h("div", { class: "hl-controls" },
    h("label", {}, "Window ", windows), pause, stop);

  function turn() {
    model.set("paused", !model.get("paused"));
    model.save_changes();
  }

  function choose() {
    model.set("window", Number(windows.value));
    model.save_changes();
  }

  function show() {
    pause.textContent = model.get("paused") ? "Go on" : "Pause";
    windows.value = String(model.get("window"));
  }

  function say() {
    text.textContent = model.get("text");
  }

  model.on("change:paused change:window", show);
  model.on("change:text", say);
  // Plotly fits a figure to its place when the window changes, and not when it gets a place. The
  // box around us is seen to grow when the figure is drawn in it, which may be long after us.
  let box = null;
  const fit = new ResizeObserver(() => {
    if (!box) {
      box = el.closest(".widget-box");
      if (box) fit.observe(box);
    }
    window.dispatchEvent(new Event("resize"));
  });
  fit.observe(el);
  show();
  say();
  el.classList.add("hl-widget", "hl-monitor");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", model.get("label"));
  el.append(controls, text);
  return () => {
    fit.disconnect();
    model.off("change:paused change:window", show);
    model.off("change:text", say);
  };
}

export default { render };
