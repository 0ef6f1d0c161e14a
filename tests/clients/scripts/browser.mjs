// Chromium, started with the settings in `given`, and an observed page in it.
import { given } from "./telling.mjs";

const { chromium } = (await import(given.playwright)).default;
// The browser itself sends nothing out of this machine.
const flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const launch = (...more) => chromium.launch({ executablePath: given.chromium, args: [...flags.split(" "), "--autoplay-policy=no-user-gesture-required", ...(given.tls.length ? ["--ignore-certificate-errors"] : []), ...more] });
export const browser = await launch();

// An observed page in a separate context: errors of the console and the network are in `trouble`. `fontSize`: the user's default.
export async function open({ fontSize, ...options } = {}) {
  const own = fontSize && (await launch(`--blink-settings=defaultFontSize=${fontSize}`));
  const context = await (own || browser).newContext({ ignoreHTTPSErrors: given.tls.length > 0, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const trouble = [];
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && trouble.push(`console: ${said.text()} ${said.location().url}`));
  page.on("pageerror", (error) => trouble.push(`error: ${error}`));
  page.on("requestfailed", (asked) => trouble.push(`failed: ${asked.url()} ${asked.failure()?.errorText}`));
  page.on("response", (answer) => answer.status() >= 400 && trouble.push(`${answer.status()}: ${answer.url()}`));
  return { page, trouble, close: () => (own || context).close() };
}

export const looks = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  "dark-phone": { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: "dark" },
};

// Texts that are above each other, or in another size than the user's.
export const overlaps = (page) =>
  page.evaluate(() => {
    const top = document.querySelector("dialog[open], :popover-open") ?? document.body;
    const walker = document.createTreeWalker(top, NodeFilter.SHOW_TEXT);
    const boxes = [];
    for (let text; (text = walker.nextNode()); ) {
      if (!text.data.trim() || !text.parentElement.checkVisibility()) continue;
      const range = document.createRange();
      range.selectNodeContents(text);
      for (const box of range.getClientRects()) if (box.width > 1) boxes.push({ text: text.data.trim(), box, of: text });
    }
    const over = (one, other) => Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1;
    const found = boxes.flatMap((one, at) => boxes.slice(at + 1).filter((other) => other.of !== one.of && over(one.box, other.box)).map((other) => `${one.text} over ${other.text}`));
    const own = Object.assign(document.createElement("p"), { textContent: "own" });
    own.style.fontSize = "medium";
    document.body.append(own);
    const [size, wanted] = [document.body, own].map((it) => getComputedStyle(it).fontSize);
    own.remove();
    return size === wanted ? found : [...found, `the text has ${size}, not ${wanted}`];
  });
