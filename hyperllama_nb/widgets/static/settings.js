// What decides over the next answer: the model, its options, the system message.
import { h } from "./base.js";

const PARAMETERS = [
  { name: "temperature", label: "Temperature", min: 0, step: 0.1 },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05 },
  { name: "num_predict", label: "Most tokens (num_predict)", min: -2, step: 1 },
  { name: "seed", label: "Seed", step: 1 },
  { name: "num_ctx", label: "Context (num_ctx)", min: 1, step: 1 },
];

/** Make the fields, which show the kernel's values and send the user's; gives element and close. */
export function settings(model) {
  const select = h("select", {
    onchange: () => model.send({ type: "model", value: select.value }),
    onfocus: () => model.send({ type: "models" }),
  });
  const inputs = PARAMETERS.map(({ name, label, ...limits }) => {
    const send = () => {
      if (!input.validity.valid) return void input.reportValidity();
      const value = input.value === "" ? null : input.valueAsNumber;
      model.send({ type: "option", name, value });
    };
    const input = h("input", { type: "number", placeholder: "default", onchange: send, ...limits });
    // steps of a tenth are for the arrows: any number may be typed
    if (!Number.isInteger(limits.step)) input.step = "any";
    return { name, input, element: h("label", {}, h("span", {}, label), input) };
  });
  const system = h("textarea", {
    rows: "3",
    placeholder: "The model's own",
    onchange: () => model.send({ type: "system", value: system.value }),
  });
  const clear = confirmed("New chat", "Really forget it?", () => model.send({ type: "clear" }));
  const summaries = [h("summary"), h("summary")];

  const drawModels = () => {
    const current = model.get("model");
    const names = [...new Set([current, ...model.get("_models")])].sort();
    const shown = [...select.options].map((option) => option.value);
    if (names.join("\n") !== shown.join("\n")) {
      select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    }
    select.value = current;
  };
  const drawOptions = () => {
    const options = model.get("options");
    const count = Object.keys(options).length;
    summaries[0].textContent = count ? `Parameters (${count} set)` : "Parameters";
    for (const { name, input } of inputs) {
      if (document.activeElement !== input) input.value = options[name] ?? "";
    }
  };
  const drawSystem = () => {
    summaries[1].textContent = model.get("system") ? "System prompt (set)" : "System prompt";
    if (document.activeElement !== system) system.value = model.get("system");
  };
  const drawBusy = () => void (clear.disabled = model.get("_busy"));

  const draws = {
    "change:model": drawModels,
    "change:_models": drawModels,
    "change:options": drawOptions,
    "change:system": drawSystem,
    "change:_busy": drawBusy,
  };
  for (const [event, draw] of Object.entries(draws)) {
    model.on(event, draw);
    draw();
  }
  const element = h(
    "div",
    { class: "hl-row hl-settings" },
    h("label", { class: "hl-row" }, h("span", {}, "Model"), select),
    h("details", {}, summaries[0], h("div", { class: "hl-grid" }, ...inputs.map((i) => i.element))),
    h("details", {}, summaries[1], h("label", {}, h("span", { class: "hl-unseen" }, "System prompt"), system)),
    clear,
  );
  const close = () => {
    for (const [event, draw] of Object.entries(draws)) model.off(event, draw);
  };
  return { element, close };
}

/** A button for what cannot be undone: it asks, and a second press within a few seconds does it. */
function confirmed(text, question, act) {
  let timer = 0;
  const back = () => {
    clearTimeout(timer);
    timer = 0;
    button.textContent = text;
  };
  const button = h("button", {
    type: "button",
    onclick: () => {
      if (timer) {
        back();
        act();
        return;
      }
      button.textContent = question;
      timer = setTimeout(back, 4000);
    },
    onblur: back,
  });
  button.textContent = text;
  return button;
}
