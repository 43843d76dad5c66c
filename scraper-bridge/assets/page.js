// Keeps a page up to date: fetches it again every few seconds and swaps the parts marked data-live.
// Whatever the page says, it says without this, too.
"use strict";

const root = document.documentElement;
const every = Number(document.body.dataset.every) * 1000;
const search = document.getElementById("search");
const lost = document.getElementById("lost");
let timer = 0;
let asking = null;
let heard = Date.now();
let pressed = 0;

root.classList.add("script");

async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const limit = setTimeout(() => mine.abort(), Math.max(every, 10000));
  let trouble = "The bridge does not answer.";
  try {
    const answer = await fetch(location.href, { signal: mine.signal, cache: "no-store" });
    if (!answer.ok) {
      trouble = `The bridge answers ${answer.status} ${answer.statusText}.`;
      throw new Error(trouble);
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asking) return;
    heard = Date.now();
    lost.hidden = true;
    swap(page);
  } catch {
    // One that was overtaken by another is no failure.
    if (mine !== asking) return;
    lost.hidden = false;
    lost.querySelector("b").textContent = trouble;
    lost.querySelector("span").textContent = Math.round((Date.now() - heard) / 1000);
  } finally {
    clearTimeout(limit);
    if (mine === asking) wait();
  }
}

function swap(page) {
  // What somebody is about to click on, or to copy, stays.
  if (Date.now() - pressed < 1000) return;
  const selection = getSelection();
  const stays = (part) =>
    (selection && !selection.isCollapsed && selection.containsNode(part, true)) || part.querySelector("[data-copied]");
  const focus = document.activeElement?.id;
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh || stays(old)) continue;
    // What was opened stays open.
    const opened = [...old.querySelectorAll("details")].map((details) => details.open);
    fresh.querySelectorAll("details").forEach((details, index) => (details.open = opened[index] ?? false));
    if (fresh.outerHTML === old.outerHTML) continue;
    old.replaceWith(document.adoptNode(fresh));
  }
  if (focus && document.activeElement?.id !== focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

function wait() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, every);
}

function go(href) {
  history.replaceState(null, "", href);
  refresh();
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent.trim());
  } catch {
    // Without TLS, browsers give the clipboard only to pages of this machine.
    getSelection().selectAllChildren(text);
    document.execCommand("copy");
    getSelection().removeAllRanges();
  }
  if ("copied" in button.dataset) return;
  const was = button.textContent;
  button.textContent = "Copied";
  button.dataset.copied = "";
  setTimeout(() => {
    button.textContent = was;
    delete button.dataset.copied;
  }, 1200);
}

document.addEventListener("click", (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const link = event.target.closest("a[data-view]");
  const button = event.target.closest("button[data-copy]");
  if (link && plain) {
    event.preventDefault();
    if (search && "clear" in link.dataset) {
      clearTimeout(typing);
      search.value = "";
    }
    go(link.href);
  } else if (button) {
    copy(button);
  }
});

addEventListener("pointerdown", () => (pressed = Date.now()), true);
addEventListener("pointerup", () => (pressed = 0), true);

let typing = 0;
search?.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const url = new URL(location.href);
    if (search.value.trim()) url.searchParams.set("q", search.value);
    else url.searchParams.delete("q");
    go(url.href);
  }, 120);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && search && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});
addEventListener("pageshow", wait);
