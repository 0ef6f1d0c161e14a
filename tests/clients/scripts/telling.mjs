// For scripts in node: each check reports its result in a line of JSON, which the conductor reads; each has a timeout.
import { createHash } from "node:crypto";

export const given = JSON.parse(process.argv[2]);
const checks = [];

// `only`: runs only checks with this in their name, for development.
export function check(name, run) {
  if (name.includes(given.only ?? "")) checks.push({ name, run });
}

export async function tellAll(limit = 90_000) {
  for (const { name, run } of checks) {
    const told = { name };
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`took longer than ${limit / 1000} s`)), limit)));
    try {
      const measured = await Promise.race([run(), late]);
      if (typeof measured === "string") told.name += `: ${measured}`;
    } catch (error) {
      told.why = `${error.stack ?? error}`.slice(0, 800);
    }
    clearTimeout(timer);
    console.log(JSON.stringify(told));
  }
  console.log(JSON.stringify({ end: true }));
  setTimeout(() => process.exit(), 5_000).unref(); // a failed check leaves its server running, which keeps node running
}

export const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

export function same(got, wanted, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: got ${a}, not ${b}`);
}
