// Buttons that copy: of a block of code its text, of an answer its markdown.

/** Listen to the buttons with `data-copy` below an element, now and later. */
export function copyOnClick(root, say) {
  root.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const copied = await copyText(textFor(button));
    const label = copied ? "Copied" : "Not copied";
    say(copied ? "Copied" : "The browser did not allow to copy: select the text instead.");
    if (button.dataset.text === undefined) button.dataset.text = button.textContent;
    button.firstChild.nodeValue = label;
    clearTimeout(Number(button.dataset.timer));
    button.dataset.timer = setTimeout(() => {
      button.firstChild.nodeValue = button.dataset.text;
    }, 2000);
  });
}

function textFor(button) {
  if (button.dataset.copy === "code") return button.closest(".hl-code").querySelector("code").textContent;
  return button.closest("article").dataset.copy;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a page without https has no clipboard of the new kind
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
