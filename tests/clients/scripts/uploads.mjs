// A browser and the page of a folder that takes files: the form without a script, and what the script makes of it.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { browser, open } from "./browser.mjs";
import { check, given, same, tellAll } from "./telling.mjs";

const { inbox, away, taking, shots } = given;
const axe = readFileSync(given.axe, "utf8");

// What is to be sent: two files, and a folder with folders in it.
const one = join(away, "one file.txt");
const two = join(away, "Grüße 50% #2.txt");
const tree = join(away, "album");
writeFileSync(one, "one");
writeFileSync(two, "two");
mkdirSync(join(tree, "deep", "deeper"), { recursive: true });
writeFileSync(join(tree, "a.jpg"), "a");
writeFileSync(join(tree, "deep", "deeper", "b.jpg"), "b");
const large = join(away, "large.bin");
writeFileSync(large, Buffer.alloc(8 << 20, 7));

const stored = () => readdirSync(inbox, { recursive: true }).sort();
const empty = () => readdirSync(inbox).forEach((name) => rmSync(join(inbox, name), { recursive: true }));
const phone = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true };
// What the page does not show at once: it is loaded again when all is stored.
const loaded = (page, act) => Promise.all([page.waitForEvent("load"), act()]);

async function accessible(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  same(found.violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => node.html)}`), [], "axe");
}

for (const colorScheme of ["light", "dark"]) {
  for (const [width, options] of [[320, phone], [1280, { viewport: { width: 1280, height: 900 } }]]) {
    check(`${width} px, ${colorScheme}: it fits the window, no violation, also while something is refused and to be deleted`, async () => {
      empty();
      writeFileSync(join(inbox, "one file.txt"), "there");
      const { page, close } = await open({ ...options, colorScheme });
      await page.goto(taking);
      await page.getByLabel("Files").setInputFiles([one]);
      await page.getByText("That name is taken").waitFor();
      await page.getByRole("button", { name: "Delete" }).click();
      await page.screenshot({ path: join(shots, `uploads-${width}-${colorScheme}.png`) });
      same(await page.evaluate(() => document.documentElement.scrollWidth), width, "its width");
      same(await page.locator("#u input:not([type=file]), #u button").evaluateAll((all) => all.filter((it) => it.getBoundingClientRect().height < 40).length), 0, "what is too low to be touched");
      await accessible(page);
      await close();
    });
  }
}

check("without script: two files and a folder by the form, and back to the page of the folder", async () => {
  empty();
  const { page, trouble, close } = await open({ javaScriptEnabled: false });
  await page.goto(taking);
  await page.getByLabel("Files").setInputFiles([one, two]);
  await page.getByLabel("New folder").fill("new");
  await page.getByRole("button", { name: "Send" }).click();
  await page.waitForURL(`${taking}/`);
  same(stored(), ["Grüße 50% #2.txt", "new", "one file.txt"].sort(), "what is stored");
  same(await page.locator("tbody tr td:first-child").allInnerTexts(), ["new/", "Grüße 50% #2.txt", "one file.txt"], "what is listed");
  await page.getByLabel("Files").setInputFiles([one]);
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("one file.txt: That name is taken").waitFor();
  same(trouble.filter((line) => !line.includes("409") && !line.includes("favicon")), [], "trouble");
  await close();
});

check("chosen files are stored and listed, below a folder too", async () => {
  empty();
  mkdirSync(join(inbox, "sub folder"));
  const { page, trouble, close } = await open();
  await page.goto(`${taking}/sub%20folder/`);
  await loaded(page, () => page.getByLabel("Files").setInputFiles([one, two]));
  same(stored(), ["sub folder", "sub folder/Grüße 50% #2.txt", "sub folder/one file.txt"], "what is stored");
  same(await page.locator("tbody:not(#up) tr td:first-child").allInnerTexts(), ["Grüße 50% #2.txt", "one file.txt"], "what is listed");
  same(readFileSync(join(inbox, "sub folder", "Grüße 50% #2.txt"), "utf8"), "two", "its content");
  same(trouble, [], "trouble");
  await close();
});

check("a whole folder, by its input", async () => {
  empty();
  const { page, trouble, close } = await open();
  await page.goto(taking);
  await loaded(page, () => page.getByLabel("A whole folder").setInputFiles(tree));
  same(stored(), ["album", "album/a.jpg", "album/deep", "album/deep/deeper", "album/deep/deeper/b.jpg"], "what is stored");
  same(trouble, [], "trouble");
  await close();
});

check("what is dropped", async () => {
  empty();
  const { page, trouble, close } = await open();
  await page.goto(taking);
  await loaded(page, () =>
    page.evaluate(() => {
      const dataTransfer = new DataTransfer();
      for (const name of ["dropped 1", "dropped 2"]) dataTransfer.items.add(new File([name], name));
      for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }),
  );
  same(stored(), ["dropped 1", "dropped 2"], "what is stored");
  same(readFileSync(join(inbox, "dropped 2"), "utf8"), "dropped 2", "its content");
  same(trouble, [], "trouble");
  await close();
});

check("progress, and a file that is cancelled: nothing of it stays, and the others go on", async () => {
  empty();
  const { page, close } = await open();
  await page.goto(taking);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 400_000 });
  await page.getByLabel("Files").setInputFiles([large, one]);
  await page.waitForFunction(() => document.querySelector("progress")?.value > 100_000);
  same(stored().includes("large.bin"), false, "nothing is there before it is whole");
  await accessible(page);
  await page.getByRole("button", { name: "Cancel large.bin" }).click();
  await page.getByText("Cancelled.").waitFor();
  await page.getByText("1 of 2 stored, 1 not").waitFor();
  same(stored(), ["one file.txt"], "what is stored");
  await close();
});

check("a new folder and a deletion, by keys alone, each asked for", async () => {
  empty();
  writeFileSync(join(inbox, "kept.txt"), "kept");
  const { page, trouble, close } = await open();
  await page.goto(taking);
  await page.getByLabel("New folder").focus();
  await page.keyboard.type("by keys");
  await loaded(page, () => page.keyboard.press("Enter"));
  same(stored(), ["by keys", "kept.txt"], "what is there");
  for (const [name, answer, left] of [["kept.txt", false, ["by keys", "kept.txt"]], ["kept.txt", true, ["by keys"]], ["by keys/", true, []]]) {
    if ((await page.getByRole("button", { name: "Delete" }).getAttribute("aria-pressed")) === "false") {
      await page.getByRole("button", { name: "Delete" }).focus();
      await page.keyboard.press("Enter");
    }
    page.once("dialog", (dialog) => (same(dialog.message(), `Delete ${name}?`, "the question"), answer ? dialog.accept() : dialog.dismiss()));
    await page.getByRole("link", { name, exact: true }).focus();
    await page.keyboard.press("Enter");
    if (answer) await page.getByText("is deleted").and(page.locator("output", { hasText: name })).waitFor();
    same(stored(), left, `after ${name}, ${answer}`);
  }
  same(trouble, [], "trouble");
  await close();
});

check("pages of another site, and pages that were uploaded, can store and delete nothing", async () => {
  empty();
  writeFileSync(join(inbox, "kept.txt"), "kept");
  const attack = `(async () => {
    const tries = [];
    for (const [method, path, mode] of [["PUT", "evil", "cors"], ["DELETE", "kept.txt", "cors"], ["MKCOL", "evil", "cors"], ["POST", "", "no-cors"]]) {
      const body = method === "POST" ? new FormData() : method === "PUT" ? "evil" : undefined;
      if (method === "POST") body.append("file", new File(["evil"], "evil.txt"));
      tries.push(await fetch("${taking}/" + path, { method, mode, body, credentials: mode === "cors" ? "omit" : "include" }).then((it) => it.status, () => "blocked"));
    }
    document.title = "tried " + tries;
  })()`;
  writeFileSync(join(inbox, "page.html"), `<!DOCTYPE html><title>waits</title><script>${attack}</script>`);
  for (const place of [given.hello, `${taking}/page.html`]) {
    const { page, close } = await open();
    await page.goto(place);
    if (place === given.hello) await page.evaluate(attack);
    await page.waitForFunction(() => document.title.startsWith("tried"));
    same(await page.title(), "tried blocked,blocked,blocked,0", place);
    same(stored(), ["kept.txt", "page.html"], `after ${place}`);
    await close();
  }
  same(existsSync(join(inbox, "evil")), false, "evil");
});

await tellAll();
await browser.close();
