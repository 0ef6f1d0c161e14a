// A browser and the programs of `apps`, as people use them: with cookies, forms, files and the "back" button.
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { browser, looks, open } from "./browser.mjs";
import { check, given, same, tellAll } from "./telling.mjs";

const { login, inbox, folder, photos, spa, shots } = given;

function photo(path, length) {
  const whole = join(photos, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, Buffer.alloc(length, 7));
  return whole;
}

async function shoot(page, name) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > window) throw new Error(`${name} is ${wide} wide in a window of ${window}`);
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

async function logIn(page, password) {
  await page.getByLabel("Name").fill("ada");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

for (const [look, options] of Object.entries(looks)) {
  check(`login, ${look}: wrong password, right one, out again`, async () => {
    const { page, trouble, close } = await open(options);
    const flash = () => page.locator(".flash").textContent(); // hidden while empty
    await page.goto(login);
    same(new URL(page.url()).pathname, "/login", "who is nobody is sent to");
    same(await flash(), "", "nothing is said at first");
    await shoot(page, `login-${look}`);
    await logIn(page, "wrong");
    same(await flash(), "No account has this name and this password.", "a wrong password");
    await shoot(page, `login-wrong-${look}`);
    await logIn(page, "correct horse");
    same([new URL(page.url()).pathname, await flash()], ["/", "Welcome, ada."], "the right one");
    await shoot(page, `login-home-${look}`);
    await page.reload();
    same(await flash(), "", "a message is shown once");
    await page.getByRole("button", { name: "Log out" }).click();
    same([new URL(page.url()).pathname, await flash()], ["/login", "You are logged out."], "logged out");
    await page.goBack();
    same(await page.getByText("You are logged in").count(), 0, "the page before is not kept");
    same(trouble.filter((line) => !/403|favicon/.test(line)), [], "trouble");
    await close();
  });
}

check("login: the cookie is for no script, and a form of another site logs nobody out", async () => {
  const { page, close } = await open();
  await page.goto(login);
  await logIn(page, "correct horse");
  same(await page.evaluate(() => document.cookie), "", "what scripts see of the cookie");
  // A page of another origin sends the form: the browser does not send the cookie (SameSite), and there is no token.
  await page.goto(spa);
  const answered = page.waitForResponse(`${login}/logout`);
  const shown = page.waitForURL(`${login}/logout`);
  await page.evaluate((url) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action: url });
    document.body.append(form);
    form.submit();
  }, `${login}/logout`);
  same((await answered).status(), 403, "the forged form");
  await shown;
  await page.goto(login);
  same(await page.getByText("You are logged in as").count(), 1, "and ada is still there");
  await close();
});

check("inbox: two photos at once, with their progress; then what has arrived", async () => {
  const { page, trouble, close } = await open(looks.phone);
  await page.goto(inbox);
  await page.setInputFiles("input[type=file]", [photo("one/a.jpg", 30_000_000), photo("two/a.jpg", 5)]);
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Thank you.").waitFor();
  same(readdirSync(folder).sort().map((name) => [name, statSync(join(folder, name)).size]), [["a-1.jpg", 5], ["a.jpg", 30_000_000]], "the folder");
  await shoot(page, "inbox-phone");
  await page.getByRole("link", { name: "Received photos" }).click();
  await page.getByText("a-1.jpg").waitFor();
  same(trouble.filter((line) => !/favicon/.test(line)), [], "trouble");
  await close();
});

check("inbox: what is sent is shown while it comes, and is gone when the page is left", async () => {
  const sender = await open();
  const watcher = await open();
  await sender.page.goto(inbox);
  await watcher.page.goto(inbox);
  const cdp = await sender.page.context().newCDPSession(sender.page);
  await cdp.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 1_000_000 });
  await sender.page.setInputFiles("input[type=file]", photo("slow.jpg", 40_000_000));
  await sender.page.getByRole("button", { name: "Send" }).click();
  await watcher.page.waitForFunction(() => document.querySelector("progress")?.value > 500_000);
  await shoot(watcher.page, "inbox-arriving");
  await sender.close();
  await watcher.page.waitForFunction(() => !document.querySelector("progress"));
  same(readdirSync(folder).filter((name) => name.includes("slow")), [], "what is left of it");
  await watcher.close();
});

check("a single-page app: links, back, and a reload of any path", async () => {
  const { page, trouble, close } = await open();
  for (const title of ["milk", "tea"]) {
    await fetch(`${spa}/api/tasks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ title }) });
  }
  await page.goto(`${spa}/tasks`);
  await page.getByText("tea").click();
  await page.getByText("to do").waitFor();
  same(new URL(page.url()).pathname, "/tasks/1", "the path");
  await page.reload();
  await page.getByText("to do").waitFor();
  await page.goBack();
  await page.getByText("milk").waitFor();
  same(trouble.filter((line) => !/favicon/.test(line)), [], "trouble");
  await close();
});

await tellAll();
await browser.close();
