// One message of the log: who said it, what, and what can be done with it.
import { h } from "./base.js";
import { MarkdownView } from "./tree.js";

/** A message. `update` takes what it has become, `allow` says which of its buttons work now. */
export class TurnView {
  constructor(entry, actions) {
    this.actions = actions;
    this.role = entry.role;
    this.entry = {};
    this.text = this.thought = "";
    const who = { user: "You", assistant: entry.model || "Model" }[entry.role] ?? entry.role;
    this.who = who;
    this.body = h("div", { class: "hl-body" });
    this.thinking = null;
    this.figures = h("div", { class: "hl-muted hl-figures" });
    this.buttons = h("span", { class: "hl-row hl-actions" });
    this.element = h(
      "article",
      { class: `hl-turn hl-${entry.role}`, "aria-label": who },
      h("div", { class: "hl-row hl-who" }, h("strong", {}, who), this.buttons),
      this.body,
      this.figures,
    );
    if (entry.role === "assistant") {
      this.markdown = new MarkdownView(this.body);
      this.againButton = this.button("Regenerate", "Regenerate this answer", actions.again);
      const copy = { type: "button", "data-copy": "answer", "aria-label": "Copy the answer" };
      this.buttons.append(h("button", copy, "Copy"), this.againButton);
    } else if (entry.role === "user") {
      this.changeButton = this.button("Edit", "Edit this question", () => this.edit());
      this.buttons.append(this.changeButton);
    }
    this.update(entry);
  }

  button(text, label, onclick) {
    return h("button", { type: "button", "aria-label": label, onclick }, text);
  }

  /** Show what the message has become; false if it is another one, for which to make a new view. */
  update(entry) {
    if (entry === this.entry) return true;
    const { role, content, thinking = "", model } = entry;
    const other = role === "assistant" && (model || "Model") !== this.who;
    if (role !== this.role || other || !content.startsWith(this.text)) return false;
    if (role !== "assistant" && content !== this.text && this.text) return false;
    if (!(thinking ?? "").startsWith(this.thought)) return false;
    this.think((thinking ?? "").slice(this.thought.length));
    const fresh = content.slice(this.text.length);
    if (this.markdown) this.markdown.append(fresh);
    else if (fresh) this.body.append(fresh);
    this.text = content;
    this.entry = entry;
    this.figures.textContent = entry.figures ?? "";
    this.element.dataset.copy = content;
    this.buttons.hidden = Boolean(entry.open);
    return true;
  }

  think(fresh) {
    if (!fresh) return;
    if (!this.thinking) {
      this.thinking = h("div", { class: "hl-muted hl-thought" });
      const summary = h("summary", {}, "Thinking");
      this.body.before(h("details", {}, summary, this.thinking));
    }
    this.thinking.append(fresh);
    this.thought += fresh;
  }

  allow({ again, change }) {
    if (this.againButton) this.againButton.hidden = !again;
    if (this.changeButton) this.changeButton.disabled = !change;
  }

  /** Put a field in the place of the question: Enter asks again, Esc leaves it as it was. */
  edit() {
    const field = h("textarea", { rows: "3", "aria-label": "Edit the question" });
    field.value = this.text;
    const leave = () => {
      form.replaceWith(this.body);
      this.changeButton.hidden = false;
      this.changeButton.focus();
    };
    const ask = () => {
      if (!field.value.trim()) return;
      leave();
      this.actions.change(field.value);
    };
    const form = h(
      "div",
      { class: "hl-edit" },
      field,
      h(
        "div",
        { class: "hl-row" },
        this.button("Ask again", "Ask again with this text; what follows is dropped", ask),
        this.button("Cancel", "Cancel: leave the question as it was", leave),
      ),
    );
    form.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") leave();
      else if (event.key === "Enter" && !event.shiftKey && event.target === field) ask();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.changeButton.hidden = true;
    this.body.replaceWith(form);
    field.focus();
  }
}
