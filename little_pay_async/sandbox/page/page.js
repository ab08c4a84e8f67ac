// Shows what comes in, and sends forms without leaving the page. All of it is the server's HTML:
// each child of an element marked data-live is replaced when the server has another one.
"use strict";

const PAUSE = 500; // milliseconds between two looks
const served = new Map(); // what the server had last, by id
let tag = "";

for (const live of document.querySelectorAll("[data-live]")) {
  served.set(live.id, live.innerHTML);
  for (const child of live.children) served.set(child.id, child.outerHTML);
}

function show(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  for (const live of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(live.id);
    if (fresh === null || fresh.innerHTML === served.get(live.id)) continue;
    served.set(live.id, fresh.innerHTML);
    if (fresh.children.length === 0) live.replaceChildren(fresh.textContent);
    else showChildren(live, [...fresh.children]);
  }
}

function showChildren(live, fresh) {
  const ids = new Set(fresh.map((child) => child.id));
  for (const old of [...live.children]) if (!ids.has(old.id)) remove(old);
  let place = live.firstElementChild;
  for (const child of fresh) {
    const html = child.outerHTML;
    const old = document.getElementById(child.id);
    if (old === null) {
      live.insertBefore(child, place);
    } else {
      place = old.nextElementSibling;
      if (html !== served.get(child.id)) replace(old, child);
    }
    served.set(child.id, html);
  }
}

function replace(old, child) {
  const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
  for (const open of old.querySelectorAll("details[open]")) {
    child.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
  }
  old.replaceWith(child);
  // Who has pressed a button that is gone goes on where it was, not at the top of the page.
  if (focused !== null) {
    (document.getElementById(focused) ?? child.querySelector("[tabindex]"))?.focus();
  }
}

function remove(old) {
  const focused = old.contains(document.activeElement);
  const card = old.parentElement.querySelector("[tabindex]");
  old.remove();
  served.delete(old.id);
  if (focused) card?.focus();
}

async function load(response) {
  if (response.status === 304) return;
  if (!response.ok) throw new Error(`${response.status}`);
  const html = await response.text();
  // In one step with what is shown: two answers may come at once, and the tag must be the last's.
  tag = response.headers.get("ETag") ?? "";
  show(html);
}

function say(text) {
  const connection = document.getElementById("connection");
  if (connection.textContent !== text) connection.textContent = text;
}

async function attempt(work) {
  try {
    await load(await work());
    say("");
  } catch {
    say("The sandbox does not answer. What you see is how it was.");
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const { target: form, submitter } = event;
  const body = new URLSearchParams(new FormData(form, submitter));
  attempt(() => fetch(location.pathname, { method: "POST", body }));
});

async function look() {
  if (!document.hidden) {
    const headers = tag === "" ? {} : { "If-None-Match": tag };
    await attempt(() => fetch(location.pathname, { headers, cache: "no-store" }));
  }
  setTimeout(look, PAUSE);
}
look();
