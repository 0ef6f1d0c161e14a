// node's fetch, node's http with a keep-alive agent, and undici's client with pipelining.
import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import { check, digest, given, same, tellAll } from "./telling.mjs";

const { site, hello, download } = given;
const whole = readFileSync(given.whole);
const url = `${site}/script/whole.bin`;
const { Agent, get: ask } = site.startsWith("https") ? https : http;

check("fetch: twenty files one after the other, each its own", async () => {
  for (let number = 0; number < 20; number++) {
    const answer = await fetch(`${site}/script/${number}.txt`);
    same([answer.status, await answer.text()], [200, `number ${number}\n`], number);
  }
});

check("fetch: a stream in pieces, a file and chunks", async () => {
  for (const [from, wanted] of [[url, whole], [`${download}/lines/1000`, Buffer.from(Array.from({ length: 1000 }, (_, n) => `${n + 1}\n`).join(""))]]) {
    const parts = [];
    for await (const part of (await fetch(from)).body) parts.push(part);
    same(digest(Buffer.concat(parts)), digest(wanted), from);
  }
});

check("fetch: aborted in the middle twenty times, and the next is whole", async () => {
  for (let number = 0; number < 20; number++) {
    const abort = new AbortController();
    const answer = await fetch(`${download}/bytes/100000000`, { signal: abort.signal });
    await answer.body.getReader().read();
    abort.abort();
  }
  const answer = await fetch(`${download}/bytes/1000`);
  same((await answer.arrayBuffer()).byteLength, 1000, "the next");
});

check("fetch: ranges, conditions, HEAD, a redirect and what is missing", async () => {
  const part = await fetch(url, { headers: { range: "bytes=-10" } });
  same([part.status, digest(Buffer.from(await part.arrayBuffer()))], [206, digest(whole.subarray(-10))], "a range");
  const tag = part.headers.get("etag");
  same((await fetch(url, { headers: { "if-none-match": tag } })).status, 304, "a condition");
  const head = await fetch(url, { method: "HEAD" });
  same([head.headers.get("content-length"), await head.text()], [`${whole.length}`, ""], "HEAD");
  const folder = await fetch(`${site}/script`);
  same([folder.redirected, new URL(folder.url).pathname], [true, "/script/"], "a redirect");
  same((await fetch(`${site}/none`)).status, 404, "what is missing");
});

check("fetch: a body of bytes, and a stream of unknown length", async () => {
  const bytes = await fetch(`${hello}/echo`, { method: "POST", body: whole });
  same(digest(Buffer.from(await bytes.arrayBuffer())), digest(whole), "bytes");
  const pieces = new ReadableStream({
    start(to) {
      for (let at = 0; at < whole.length; at += 50_000) to.enqueue(whole.subarray(at, at + 50_000));
      to.close();
    },
  });
  const stream = await fetch(`${hello}/echo`, { method: "POST", body: pieces, duplex: "half" });
  same(digest(Buffer.from(await stream.arrayBuffer())), digest(whole), "a stream");
});

check("fetch: two hundred at once", async () => {
  const texts = await Promise.all(Array.from({ length: 200 }, async (_, n) => (await fetch(`${site}/script/${n % 20}.txt`)).text()));
  same(texts, texts.map((_, n) => `number ${n % 20}\n`), "the texts");
});

function get(agent, path) {
  return new Promise((resolve, reject) => {
    const asked = ask(`${site}${path}`, { agent }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ text: Buffer.concat(parts).toString(), kept: asked.reusedSocket }));
    });
    asked.on("error", reject);
  });
}

check("http: a kept agent uses one socket", async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const kept = [];
  for (let number = 0; number < 10; number++) {
    const { text, kept: again } = await get(agent, `/script/${number}.txt`);
    same(text, `number ${number}\n`, number);
    kept.push(again);
  }
  same(kept, [false, ...Array(9).fill(true)], "whether the socket was used before");
  agent.destroy();
});

check("undici: sixty requests, ten in flight on one connection", async () => {
  const { Client } = (await import(given.undici)).default;
  const client = new Client(site, { pipelining: 10 });
  const texts = await Promise.all(Array.from({ length: 60 }, async (_, n) => {
    const { statusCode, body } = await client.request({ path: `/script/${n % 20}.txt`, method: "GET" });
    return `${statusCode} ${await body.text()}`;
  }));
  same(texts, texts.map((_, n) => `200 number ${n % 20}\n`), "the answers");
  await client.close();
});

await tellAll();
