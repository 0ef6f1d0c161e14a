// A browser that stays open while its server is restarted at the same port: EventSource, WebSocket, long polls.
import { join } from "node:path";
import { browser, looks, open } from "./browser.mjs";
import { start as startServer } from "./starting.mjs";
import { check, given, same, tellAll } from "./telling.mjs";

const { dashboard, readings, chat, shots } = given;
const start = (program, address = "127.0.0.1:0", ...words) => startServer(program, address, ...words);

async function tell(url, text) {
  const answer = await fetch(url, { method: "POST", body: text });
  same(answer.status, 204, `POST ${text}`);
}

const shown = (page, selector) => page.locator(selector).allTextContents();
const connected = (page) => page.waitForFunction(() => document.querySelector("output").value == "connected");
const lost = (page) => page.waitForFunction(() => document.querySelector("output").value != "connected");
const count = (page, selector, wanted) =>
  page.waitForFunction(([selector, wanted]) => document.querySelectorAll(selector).length >= wanted, [selector, wanted]);

async function shoot(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

for (const signal of ["SIGTERM", "SIGKILL"]) {
  check(`dashboard: what was missed while the server was away comes after ${signal}`, async () => {
    const file = `${readings}-${signal}`;
    const first = await start(dashboard, "127.0.0.1:0", file);
    const { page, close } = await open(looks.desktop);
    await page.goto(first.url);
    await connected(page);
    await tell(`${first.url}/readings`, "kitchen 21.5");
    await count(page, "li", 1);
    await page.route("**/readings*", (route) => route.abort()); // the page comes back after the next two readings
    same(await first.stop(signal), signal == "SIGTERM" ? 0 : null, "the exit status");
    await lost(page);
    await shoot(page, `dashboard-away-${signal}`);

    const second = await start(dashboard, first.address, file);
    await tell(`${second.url}/readings`, "kitchen 22");
    await tell(`${second.url}/readings`, "cellar 9");
    same(await page.locator("output").textContent(), "connecting ...", "the page while it can't connect");
    await page.unroute("**/readings*");
    await count(page, "li", 3);
    same(await shown(page, "li"), ["1: kitchen 21.5", "2: kitchen 22", "3: cellar 9"], "each once, and none missed");
    same(await shown(page, "td"), ["kitchen", "22", "cellar", "9"], "the table");
    await shoot(page, `dashboard-back-${signal}`);
    await close();
    await second.stop("SIGTERM");
  });

  check(`dashboard: it continues after a response that is not 200, and after ${signal}`, async () => {
    const file = `${readings}-not-200-${signal}`;
    const first = await start(dashboard, "127.0.0.1:0", file);
    const { page, close } = await open(looks.desktop);
    await page.goto(first.url);
    await connected(page);
    await tell(`${first.url}/readings`, "kitchen 21.5");
    await count(page, "li", 1);
    let refused = 0;
    await page.route("**/readings*", (route) => (refused++ < 2 ? route.fulfill({ status: 503, body: "busy" }) : route.continue()));
    await first.stop(signal);
    await lost(page);
    const second = await start(dashboard, first.address, file);
    await tell(`${second.url}/readings`, "kitchen 22");
    await count(page, "li", 2);
    same(await shown(page, "li"), ["1: kitchen 21.5", "2: kitchen 22"], "each once, and none missed");
    await connected(page);
    same(refused > 2, true, "refusals");
    await close();
    await second.stop("SIGTERM");
  });

  for (const kind of ["socket", "polls"]) {
    check(`chat by ${kind}: a page comes back after ${signal}, and continues`, async () => {
      const first = await start(chat);
      const [one, other] = [await open(looks.desktop), await open(looks.phone)];
      await one.page.goto(`${first.url}/${kind == "polls" ? "?polls" : ""}`);
      await other.page.goto(first.url); // by WebSocket: both kinds of clients are in one chat
      const say = async (page, text) => {
        await page.getByRole("textbox").fill(text);
        await page.getByRole("button", { name: "Send" }).click();
      };
      await connected(other.page);
      if (kind == "socket") await connected(one.page);
      await say(one.page, "hello from one");
      await count(other.page, "li", 1);
      await say(other.page, "hello from the other");
      for (const { page } of [one, other]) {
        await count(page, "li", 2);
        same(await shown(page, "li"), ["hello from the other", "hello from one"], "the newest first");
      }
      for (const { page } of [one, other]) same(await page.locator("output").innerText(), "connected", "after messages");
      same(await first.stop(signal), signal == "SIGTERM" ? 0 : null, "the exit status");
      await lost(other.page);
      await shoot(other.page, `chat-away-${kind}-${signal}`);
      await lost(one.page);
      await say(one.page, "while it was away");

      const second = await start(chat, first.address);
      await tell(`${second.url}/words`, "while it was away"); // someone else's: equal, and another message
      await connected(other.page);
      await count(other.page, "li", 2);
      same(await shown(other.page, "li"), ["while it was away", "while it was away"], "two messages");
      await say(other.page, "here again");
      await one.page.waitForFunction(() => document.querySelector("li")?.textContent == "here again");
      await say(one.page, "so am I");
      for (const { page } of [one, other]) {
        await page.waitForFunction(() => document.querySelector("li")?.textContent == "so am I");
        same((await shown(page, "li")).slice(0, 2), ["so am I", "here again"], "the newest first");
      }
      await shoot(one.page, `chat-back-${kind}-${signal}`);
      await one.close();
      await other.close();
      await second.stop("SIGTERM");
    });
  }
}

await tellAll();
await browser.close();
