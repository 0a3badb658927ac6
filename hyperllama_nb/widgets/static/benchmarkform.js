// What is to be compared: the form of a benchmark, and its objectives.
import { h, paced } from "./base.js";
import { LAST, LIMITS, limitAt, limitOf, limitWords, placeOf } from "./benchmarklimits.js";

const TEXTS = [
  ["concurrency", "Requests at a time", "1, 4", "closed loads, by commas"],
  ["rates", "Requests per second", "0.5, 2", "open loads (Poisson), by commas"],
  ["input_tokens", "Input tokens", "128", "length of each prompt"],
  ["output_tokens", "Output tokens", "64", "length of each answer"],
  ["requests", "Requests", "16", "per load and block"],
  ["blocks", "Blocks", "5", "repetitions in mixed order"],
];

const WORKLOADS = {
  fixed: "fixed: one length",
  uniform: "uniform: from half to one and a half",
  normal: "normal: lengths around the mean",
  prefix: "prefix: prompts that begin alike",
  turns: "turns: conversations of four turns",
  sample: "sample: tasks in everyday words",
};

/** Make the form, which shows the kernel's values and sends the user's; gives element, fill, mark. */
export function choices(model, id) {
  const problems = new Map();
  const field = (name, label, input, hint) => {
    const problem = h("span", { class: "hl-problem", id: `${id}-${name}-problem`, hidden: true });
    const about = hint && h("span", { class: "hl-muted", id: `${id}-${name}-hint` }, hint);
    problems.set(name, { problem, input });
    input.setAttribute("aria-describedby", `${id}-${name}-hint ${id}-${name}-problem`);
    return h("div", {}, h("label", {}, h("span", {}, label), input), about, problem);
  };
  const text = ([name, label, placeholder, hint]) => {
    const input = h("input", { type: "text", name, placeholder, spellcheck: "false" });
    if (!name.match(/^(concurrency|rates)$/)) input.inputMode = "numeric";
    return field(name, label, input, hint);
  };
  const select = h("select", { name: "model" });
  const workload = h("select", { name: "workload" });
  const others = h("input", { type: "text", name: "others", placeholder: "ollama, http://host:8000/v1" });
  const checks = h("div", { class: "hl-row" });
  const targets = h("fieldset", {}, h("legend", {}, "Targets"), checks);
  const twice = h("input", { type: "checkbox", name: "noise_floor" });
  const all = h(
    "fieldset",
    { class: "hl-choices", onchange: () => model.send({ type: "form", form: values() }) },
    h("legend", { class: "hl-unseen" }, "What is compared"),
    field("model", "Model", select),
    targets,
    field("others", "Other targets", others, "by commas; a #name after a URL is its model there"),
    field("workload", "Workload", workload),
    ...TEXTS.map(text),
    h("label", { class: "hl-check" }, twice, "Measure the first target twice: the noise floor"),
  );
  targets.append(problemOf("targets", checks));

  function problemOf(name, input) {
    const problem = h("span", { class: "hl-problem", hidden: true });
    problems.set(name, { problem, input });
    return problem;
  }

  const named = () => [...all.querySelectorAll("[name]")];

  function values() {
    const form = Object.fromEntries(named().map((input) => [input.name, input.value]));
    const boxes = [...checks.querySelectorAll("input")];
    form.targets = boxes.filter((box) => box.checked).map((box) => box.value);
    form.noise_floor = twice.checked;
    return form;
  }

  /** Give a select these options, unless it has them. */
  function offer(list, names, label = (name) => name) {
    const shown = [...list.options].map((option) => option.value);
    if (shown.join("\n") === names.join("\n")) return;
    list.replaceChildren(...names.map((name) => h("option", { value: name }, label(name))));
  }

  function fill({ form, known }) {
    offer(select, [...new Set([form.model, ...known.models])]);
    offer(workload, known.workloads, (name) => WORKLOADS[name] ?? name);
    if (checks.children.length !== known.backends.length) {
      const box = (value) => h("input", { type: "checkbox", value });
      checks.replaceChildren(...known.backends.map((each) => h("label", { class: "hl-check" }, box(each), each)));
    }
    const focused = all.getRootNode().activeElement;
    for (const input of named()) if (input !== focused) input.value = form[input.name];
    for (const box of checks.querySelectorAll("input")) box.checked = form.targets.includes(box.value);
    twice.checked = form.noise_floor;
  }

  /** Show what is wrong, and whether anything can be chosen now. */
  function mark({ problems: found, status }) {
    for (const [name, { problem, input }] of problems) {
      problem.textContent = found[name] ?? "";
      problem.hidden = !found[name];
      if (input !== checks) input.setAttribute("aria-invalid", String(name in found));
    }
    all.disabled = !status.actions.includes("start");
  }
  return { element: all, fill, mark };
}

/** Make the objectives, each a number in milliseconds and a slider; gives element and fill. */
export function objectives(model) {
  const limits = {};
  const send = paced(() => model.send({ type: "objectives", ...limits }), 100);
  const rows = LIMITS.map(([name, label, least, most]) => {
    const change = (limit) => {
      limits[name] = limit;
      slider.setAttribute("aria-valuetext", limitWords(limit));
      send();
    };
    const number = h("input", {
      type: "text",
      inputmode: "decimal",
      placeholder: "none",
      "aria-label": `${label}, limit in ms`,
      onchange: () => {
        const limit = limitOf(number.value);
        number.setAttribute("aria-invalid", String(limit === undefined));
        if (limit === undefined) return;
        slider.value = placeOf(limit, least, most);
        change(limit);
      },
    });
    const slider = h("input", {
      type: "range",
      min: 0,
      max: LAST,
      "aria-label": `${label}, limit`,
      oninput: () => {
        number.value = limitAt(slider.valueAsNumber, least, most) ?? "";
        change(limitAt(slider.valueAsNumber, least, most));
      },
    });
    const show = (limit) => {
      const focused = slider.getRootNode().activeElement;
      // what is being changed here is newer than what the kernel says of it
      if (focused === number || focused === slider) return;
      limits[name] = limit;
      number.value = limit ?? "";
      slider.value = placeOf(limit, least, most);
      slider.setAttribute("aria-valuetext", limitWords(limit));
    };
    const element = h("div", { class: "hl-objective" }, h("span", {}, label), slider, number, h("span", {}, "ms"));
    return { name, element, show };
  });
  const element = h(
    "div",
    { class: "hl-objectives", role: "group", "aria-label": "Objectives" },
    ...rows.map((row) => row.element),
  );
  const fill = ({ objectives: found }) => {
    for (const { name, show } of rows) show(found[name]);
  };
  return { element, fill };
}
