// Sends the requests of the home page to this server, and colours Rust code.
"use strict";

const PICTURE = "/house.svg";
const LETTERS = "/files/alphabet.txt";

// One request per button. `before` gets header fields that the request needs, such as the entity tag of a file.
const requests = [
  { name: "A page", method: "GET", path: "/" },
  { name: "Only its head", method: "HEAD", path: "/" },
  { name: "Five letters", method: "GET", path: LETTERS, headers: { Range: "bytes=7-11" } },
  { name: "A picture again", method: "GET", path: PICTURE, before: knownTag },
  { name: "Past the end of a file", method: "GET", path: LETTERS, headers: { Range: "bytes=9999-" } },
  { name: "A missing page", method: "GET", path: "/no-such-page" },
  { name: "A method that is not allowed", method: "DELETE", path: "/index.html" },
];

async function knownTag() {
  const head = await fetch(PICTURE, { method: "HEAD", cache: "no-store" });
  const tag = head.headers.get("etag");
  return tag ? { "If-None-Match": tag } : {};
}

async function send(request, button) {
  for (const other of button.parentElement.children) other.setAttribute("aria-pressed", other === button);
  const asked = document.getElementById("asked");
  const answered = document.getElementById("answered");
  try {
    const headers = { ...request.headers, ...(request.before ? await request.before() : {}) };
    asked.textContent = `${request.method} ${request.path} HTTP/1.1\nHost: ${location.host}\n${lines(Object.entries(headers))}`;
    const start = performance.now();
    const answer = await fetch(request.path, { method: request.method, headers, cache: "no-store" });
    const body = await answer.text();
    show(answered, answer, body, performance.now() - start);
  } catch (error) {
    answered.textContent = `No response: ${error.message}.\nIs the server still running?`;
  }
}

function show(place, answer, body, took) {
  const status = document.createElement("span");
  status.className = answer.status < 400 ? "status good" : "status";
  status.textContent = `HTTP/1.1 ${answer.status} ${answer.statusText}\n`;
  const type = answer.headers.get("content-type") ?? "";
  const sample = type.startsWith("text/plain") ? `\n${body.slice(0, 200)}\n` : "";
  const note = `\n${new TextEncoder().encode(body).length} bytes of body, ${took.toFixed(1)} ms`;
  place.replaceChildren(status, lines([...answer.headers]) + sample + note);
}

function lines(fields) {
  return fields.map(([name, value]) => `${name}: ${value}\n`).join("");
}

// Colours comments, strings and keywords in one pass over the text. The result consists of nodes, so no text is parsed as HTML.
function colour(code) {
  const pattern = /(\/\/[^\n]*)|("(?:[^"\\]|\\.)*")|\b(use|struct|enum|impl|for|fn|let|mut|match|if|else|return|pub|self|Self|move|type|where|in|Ok|Err|Some|None)\b/g;
  const text = code.textContent;
  const parts = [];
  let done = 0;
  for (const found of text.matchAll(pattern)) {
    const span = document.createElement("span");
    span.className = found[1] ? "c" : found[2] ? "s" : "k";
    span.textContent = found[0];
    parts.push(text.slice(done, found.index), span);
    done = found.index + found[0].length;
  }
  code.replaceChildren(...parts, text.slice(done));
}

document.querySelectorAll("code.rust").forEach(colour);

const asks = document.querySelector(".asks");
if (asks) {
  for (const request of requests) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = request.name;
    button.addEventListener("click", () => send(request, button));
    asks.append(button);
  }
  send(requests[0], asks.firstElementChild);
}
