// The chat's view: shows the log and the answer that grows, and tells the kernel what the user does.
import { announcer, breakLine, h, hideKept, keepKeys } from "./base.js";
import { copyOnClick } from "./copying.js";
import { settings } from "./settings.js";
import { advance, IDLE, shownEntries } from "./state.js";
import { TurnView } from "./turn.js";

class ChatView {
  constructor(model, el) {
    this.model = model;
    this.state = IDLE;
    this.turns = [];
    this.follow = true;
    this.frame = 0;
    const { region, say } = announcer();
    this.say = say;
    this.log = h("div", {
      class: "hl-log",
      role: "log",
      "aria-label": "Conversation",
      // its growth is not read out token by token: the announcer tells beginning and end
      "aria-live": "off",
      tabindex: "0",
    });
    this.alert = h("div", { role: "alert" });
    this.line = h("div", { class: "hl-muted hl-line" });
    this.settings = settings(model);
    this.composer = this.makeComposer();
    this.root = h(
      "section",
      { class: "hl-widget hl-chat", "aria-label": model.get("name") || "Chat" },
      this.settings.element,
      this.log,
      this.alert,
      this.composer,
      this.line,
      region,
    );
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    copyOnClick(this.root, say);
    el.append(this.root);
    this.listen();
    this.draw();
    model.send({ type: "ready" });
  }

  makeComposer() {
    this.input = h("textarea", {
      rows: "2",
      "aria-label": "Message",
      "aria-keyshortcuts": "Enter Shift+Enter Escape",
      placeholder: "Ask something. Enter sends, Shift+Enter makes a new line, Esc stops.",
    });
    this.sendButton = h("button", { type: "submit", class: "hl-primary" }, "Send");
    this.stopButton = h("button", { type: "button", onclick: () => this.stop() }, "Stop");
    const onsubmit = (event) => {
      event.preventDefault();
      this.send();
    };
    return h(
      "form",
      { class: "hl-composer", onsubmit },
      this.input,
      h("div", { class: "hl-row" }, this.sendButton, this.stopButton),
    );
  }

  listen() {
    this.onMessage = (message) => this.take(message);
    this.onState = () => this.takeState();
    this.onName = () => this.root.setAttribute("aria-label", this.model.get("name") || "Chat");
    this.model.on("msg:custom", this.onMessage);
    this.model.on("change:_log", this.onState);
    this.model.on("change:_busy", this.onState);
    this.model.on("change:name", this.onName);
    this.undo = [hideKept(this.model), keepKeys(this.root), this.settings.close];
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:_log", this.onState);
    this.model.off("change:_busy", this.onState);
    this.model.off("change:name", this.onName);
    for (const undo of this.undo) undo();
  }

  get busy() {
    return this.model.get("_busy") || this.state.running;
  }

  take(message) {
    if (message.type === "error" || message.type === "failed") {
      this.fail(message);
      return;
    }
    this.state = advance(this.state, message);
    if (this.state.lost) {
      this.state = IDLE;
      this.model.send({ type: "ready" });
    }
    if (message.type === "begin") {
      this.alert.replaceChildren();
      if (this.input.value.trim() === message.question.trim()) this.input.value = "";
      this.say(`${message.model} is answering`);
    }
    if (message.type === "status" && !this.state.running) this.line.textContent = message.text;
    this.schedule();
  }

  takeState() {
    const running = this.state.running;
    if (!this.model.get("_busy")) this.state = IDLE;
    if (running && !this.state.running) {
      const last = this.model.get("_log").at(-1);
      this.say(`The answer has ended. ${last?.figures ?? ""}`);
    }
    this.schedule();
  }

  fail({ message, question }) {
    // what the user wrote is not lost
    if (question && !this.input.value.trim()) this.input.value = question;
    this.alert.replaceChildren(...(message ? [h("div", { class: "hl-error" }, message)] : []));
    this.schedule();
  }

  send() {
    const text = this.input.value;
    if (!text.trim() || this.busy) return;
    this.follow = true;
    this.model.send({ type: "send", text });
    this.input.focus();
  }

  stop() {
    if (!this.busy) return;
    this.model.send({ type: "stop" });
    this.input.focus();
  }

  onKey(event) {
    if (event.isComposing || event.defaultPrevented || breakLine(event)) return;
    if (event.key === "Escape" && this.busy) {
      this.stop();
      event.stopPropagation();
    } else if (event.key === "Enter" && !event.shiftKey && event.target === this.input) {
      event.preventDefault();
      event.stopPropagation();
      this.send();
    }
  }

  /** Draw before the next frame: however fast text comes, it is laid out once a frame. */
  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { log } = this;
    this.follow ||= log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const entries = shownEntries(this.model.get("_log"), this.state);
    entries.forEach((entry, index) => {
      if (!this.turns[index]?.update(entry)) this.replaceTurn(index, entry);
      this.turns[index].allow({
        again: !this.busy && index === entries.length - 1,
        change: !this.busy,
      });
    });
    for (const turn of this.turns.splice(entries.length)) turn.element.remove();
    log.setAttribute("aria-busy", String(this.busy));
    log.classList.toggle("hl-empty", entries.length === 0);
    this.sendButton.disabled = this.busy;
    this.stopButton.hidden = !this.busy;
    this.line.textContent = this.lineText(entries);
    if (this.follow) log.scrollTop = log.scrollHeight;
    this.follow = false;
  }

  lineText(entries) {
    if (!this.state.running) return entries.at(-1)?.figures ?? "";
    return this.state.text || this.state.thinking ? "Answering" : this.state.line;
  }

  replaceTurn(index, entry) {
    const turn = new TurnView(entry, {
      again: () => this.model.send({ type: "regenerate" }),
      change: (text) => {
        this.follow = true;
        this.model.send({ type: "edit", index, text });
      },
    });
    const old = this.turns[index];
    if (old) old.element.replaceWith(turn.element);
    else this.log.append(turn.element);
    this.turns[index] = turn;
  }
}

function render({ model, el }) {
  const view = new ChatView(model, el);
  return () => view.close();
}

export default { render };
