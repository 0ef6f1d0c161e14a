// A browser and the server: films, modules, workers, listings, edits, and the project's own site.
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { browser, looks, open } from "./browser.mjs";
import { check, given, same, tellAll } from "./telling.mjs";

const { site, www, root, shots } = given;
for (const [look, options] of Object.entries(looks)) {
  check(`the project's site, ${look}: nothing in the console, nothing missing, nothing wider than the window`, async () => {
    const { page, trouble, close } = await open(options);
    for (const [name, path] of [["index", "/"], ["handler", "/handler.html"], ["listing", "/files/"], ["404", "/no-such-page"], ["405", null]]) {
      // The folder's own pages, and finally one that the library makes: an encoded slash is not a name.
      const answer = await page.goto(`${www}${path ?? "/%zz"}`, { waitUntil: "networkidle" });
      same(answer.status(), { 404: 404, 405: 400 }[name] ?? 200, path);
      const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      if (wide[0] > wide[1]) throw new Error(`${name} is ${wide[0]} wide in a window of ${wide[1]}`);
      await page.screenshot({ path: join(shots, `${look}-${name === "405" ? "400" : name}.png`), fullPage: true });
    }
    // The errors for missing pages are expected. The screenshot brings pictures into view, and the next page aborts their loading.
    same(trouble.filter((line) => !/\/no-such-page|\/%zz|\/%25zz|\.svg net::ERR_ABORTED/.test(line)), [], "trouble");
    await close();
  });
}

check("the project's site: each button sends a request and shows the response", async () => {
  const { page, close } = await open();
  await page.goto(`${www}/`);
  const wanted = { "A page": 200, "Only its head": 200, "Five letters": 206, "A picture again": 304, "Past the end of a file": 416, "A missing page": 404, "A method that is not allowed": 405 };
  same(await page.locator(".asks button").allInnerTexts(), Object.keys(wanted), "the buttons");
  for (const [name, status] of Object.entries(wanted)) {
    await page.getByRole("button", { name, exact: true }).click();
    await page.waitForFunction((start) => document.querySelector("#answered .status")?.textContent.startsWith(start), `HTTP/1.1 ${status} `);
  }
  await close();
});

check("a film plays, and is sought in forward and back by ranges", async () => {
  const { page, trouble, close } = await open();
  const parts = [];
  page.on("response", (answer) => answer.url().endsWith("/film.mp4") && parts.push(answer.status()));
  await page.goto(`${site}/page/film.html`);
  await page.evaluate(() => document.querySelector("video").play());
  for (const second of [0, 30, 3, 37]) {
    await page.evaluate((at) => (document.querySelector("video").currentTime = at), second);
    await page.waitForFunction((at) => {
      const film = document.querySelector("video");
      return !film.seeking && film.currentTime > at + 0.2 && film.videoWidth === 320;
    }, second);
  }
  same([...new Set(parts)], [206], "the statuses");
  if (parts.length < 2) throw new Error("the film was read in one go");
  // Seeking aborts the previous download.
  same(trouble.filter((line) => !line.includes("film.mp4 net::ERR_ABORTED")), [], "trouble");
  await close();
});

check("modules, a style, a font, a manifest and sixty pictures", async () => {
  const { page, trouble, close } = await open();
  await page.goto(`${site}/page/`, { waitUntil: "networkidle" });
  same(await page.evaluate(() => window.summed), 3, "the module");
  same(await page.evaluate(() => getComputedStyle(document.body).color), "rgb(1, 2, 3)", "the style");
  if (given.font) same(await page.evaluate(async () => (await document.fonts.load("16px Ours")).length), 1, "the font");
  same(await page.evaluate(() => [...document.images].filter((picture) => picture.naturalWidth === 8).length), 60, "the pictures");
  same(trouble, [], "trouble");
  await close();
});

check("WebAssembly is compiled while it streams", async () => {
  const { page, close } = await open();
  await page.goto(`${site}/page/`);
  const sum = await page.evaluate(async () => (await WebAssembly.instantiateStreaming(fetch("sum.wasm"))).instance.exports.sum(20, 22));
  same(sum, 42, "the sum");
  await close();
});

check("a service worker comes to stand between the page and the server", async () => {
  const { page, close } = await open();
  await page.goto(`${site}/page/`);
  await page.evaluate(async () => {
    await navigator.serviceWorker.register("worker.js");
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller) await new Promise((come) => (navigator.serviceWorker.oncontrollerchange = come));
  });
  same(await page.evaluate(async () => (await fetch("made-up")).text()), "by the worker", "what is made up");
  same(await page.evaluate(async () => (await fetch("sum.mjs")).status), 200, "what is not");
  await close();
});

check("a reload shows an edit made a moment ago: a page and its style, thirty times", async () => {
  const { page, close } = await open();
  const folder = join(root, "edits");
  mkdirSync(folder);
  const write = (number) => {
    // All have one length, so that only the time distinguishes them.
    writeFileSync(join(folder, "style.css"), `body { color: rgb(0, 0, ${100 + number}) }\n`);
    writeFileSync(join(folder, "index.html"), `<!doctype html><title>Edits</title><link rel="icon" href="data:,"><link rel="stylesheet" href="style.css"><p>${100 + number}</p>`);
  };
  write(0);
  await page.goto(`${site}/edits/`);
  for (let number = 1; number <= 30; number++) {
    write(number);
    await page.reload();
    const seen = await page.evaluate(() => [document.querySelector("p").textContent, getComputedStyle(document.body).color]);
    same(seen, [`${100 + number}`, `rgb(0, 0, ${100 + number})`], `edit ${number}`);
  }
  await close();
});

check("a listing shows a file made a moment ago", async () => {
  const { page, close } = await open();
  mkdirSync(join(root, "growing"));
  await page.goto(`${site}/growing/`);
  for (let number = 0; number < 10; number++) {
    appendFileSync(join(root, "growing", `${number}.txt`), "x");
    await page.reload();
    same(await page.locator("td a:not([href='../'])").count(), number + 1, "names");
  }
  await close();
});

check("a listing of odd names: each is clicked, and is that file", async () => {
  const { page, trouble, close } = await open();
  await page.goto(`${site}/odd/`);
  const count = await page.locator("td a[href$='.txt']").count();
  same(count, given.odd, "names that can be clicked");
  const seen = new Set();
  for (let number = 0; number < count; number++) {
    await page.locator("td a[href$='.txt']").nth(number).click();
    await page.waitForFunction(() => document.body?.innerText.startsWith("this is file "));
    seen.add(await page.evaluate(() => document.body.innerText.trim()));
    await page.goBack();
  }
  same(seen.size, given.odd, "files that were seen");
  await page.getByText("fold er%/").click();
  await page.getByText("deep.txt").click();
  same(await page.evaluate(() => document.body.innerText.trim()), "deep", "in a folder of a folder");
  await page.goBack();
  await page.getByText("..", { exact: true }).click();
  await page.waitForURL(`${site}/odd/`);
  await page.screenshot({ path: join(shots, "desktop-odd.png"), fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: join(shots, "phone-odd.png"), fullPage: true });
  same(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing wider than a phone");
  same(trouble.filter((line) => !line.includes("favicon.ico")), [], "trouble");
  await close();
});

check("a form with a body, and an answer in chunks shown as it comes", async () => {
  const { page, close } = await open();
  await page.goto(`${given.hello}/`);
  const back = await page.evaluate(async () => (await fetch("/echo", { method: "POST", body: "x".repeat(1_000_000) })).text());
  same(back.length, 1_000_000, "what came back");
  await page.goto(`${given.download}/lines/5000`);
  const text = await page.evaluate(() => document.body.innerText.trim().split("\n").length);
  same(text, 5000, "lines");
  await close();
});

await tellAll();
await browser.close();
