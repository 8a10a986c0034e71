// The package as it is published: what is in it, its types as a TypeScript application sees them, and the README's examples word for word.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch, open } from "../browser/chromium.mjs";
import { startNetwork, until } from "../browser/hosts.mjs";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The examples' hosts. */
const HOSTS = `["wss://one.example/v1", "wss://two.example/v1"]`;

let directory;
let files;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "aldis-package-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", directory], { cwd: join(ROOT, "web") });
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("[")));
  files = packed.files.map(({ path }) => path);
  const modules = join(directory, "node_modules");
  await mkdir(join(modules, "aldis"), { recursive: true });
  await run("tar", ["-xzf", join(directory, packed.filename), "--strip-components=1", "-C", join(modules, "aldis")]);
  for (const name of ["ws", "typescript"]) await symlink(join(ROOT, "node_modules", name), join(modules, name));
  await writeFile(join(directory, "package.json"), `{ "type": "module" }`);
});
after(() => rm(directory, { recursive: true, force: true }));

/** The examples of the README in the package, for the hosts of a test. */
async function examples(hosts) {
  const readme = await readFile(join(directory, "node_modules/aldis/README.md"), "utf8");
  const found = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
  assert.equal(found.length, 2);
  return found.map((code) => {
    assert.ok(code.includes(HOSTS), "an example says where its hosts are");
    return code.replace(HOSTS, JSON.stringify(hosts.map(({ ws }) => ws)));
  });
}

test("the package has the library, its types and its licences, and nothing else", async () => {
  const kinds = [/^aldis\.js$/, /^aldis\/\w+\.js$/, /^types\/(aldis\/)?\w+\.d\.ts$/, /^LICENSE-/, /^README\.md$/, /^package\.json$/];
  for (const kind of kinds) assert.ok(files.some((file) => kind.test(file)), `nothing like ${kind}`);
  assert.deepEqual(files.filter((file) => !kinds.some((kind) => kind.test(file))), []);
});

test("an application in TypeScript sees types, and is told of its mistakes", async () => {
  const check = async (code) => {
    await writeFile(join(directory, "application.ts"), `import { connect, Identity, AldisError, type Receipt } from "aldis";\nconst aldis = connect({ hosts: ["wss://one.example"] });\n${code}\n`);
    const compilerOptions = { noEmit: true, strict: true, module: "nodenext", target: "es2022", lib: ["es2023", "dom"], types: [] };
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["application.ts"] }));
    return run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc")], { cwd: directory }).then(() => "", ({ stdout }) => stdout);
  };
  assert.equal(await check(`
    const swarm = await aldis.join("t", { meta: 1, signal: AbortSignal.timeout(1) });
    swarm.on("left", ({ peer, reason }) => { const text: string = peer + reason; void text; });
    const receipt: Receipt = await swarm.signal("p", {});
    if (receipt.status === "refused" && receipt.code === "no_such_peer") throw new AldisError("timeout");
    const { pc, channel } = await swarm.connect("p");
    const real: [RTCPeerConnection, RTCDataChannel] = [pc, channel]; void real;
    connect({ hosts: [], identity: await Identity.create(), sealed: true });`), "");
  const mistakes = await check(`
    aldis.on("nonsense", () => {});
    const status: "lost" = (await aldis.signal("p", 1)).status; void status;
    connect({ host: "x" });`);
  assert.equal(mistakes.match(/error TS/g)?.length, 3, mistakes);
});

test("the README's example for Node runs: one waits, the next, with Node's own WebSocket, finds it and signals", { timeout: 60_000 }, async () => {
  const network = await startNetwork(2);
  const programs = [];
  try {
    const [, code] = await examples(network.hosts);
    await writeFile(join(directory, "example.js"), code);
    await writeFile(join(directory, "without.js"), code.replace(/import .* from "ws";.*/, "").replace(", WebSocket }", " }"));
    const start = (...how) => {
      const program = spawn(process.execPath, how, { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
      programs.push(program);
      program.said = "";
      program.stdout.on("data", (text) => { program.said += text; });
      return program;
    };
    const first = start("example.js");
    await until(async () => (await network.hosts[0].status()).sessions > 0, "the first is there");
    // It may not have joined yet: whoever comes before it is in the topic finds nobody.
    const second = await until(async () => {
      const program = start("--experimental-websocket", "without.js"); // Node 20 has it behind this flag
      await until(() => program.said.includes("delivered"), "somebody is found", 2_000);
      return program;
    }, "a program that finds the first");
    await until(() => /^[0-9a-f]{64} says hello$/m.test(first.said), "the first has heard it");
    assert.equal(second.exitCode, null, "it stays connected");
  } finally {
    for (const program of programs) program.kill();
    await network.stop();
  }
});

test("the README's example for browsers runs: two pages talk", { timeout: 60_000 }, async () => {
  const network = await startNetwork(2);
  const browser = await launch();
  try {
    const [code] = await examples(network.hosts);
    const pages = [];
    for (const host of network.hosts) {
      const page = await open(browser, `${host.http}aldis.js`);
      page.said = [];
      page.on("console", (message) => page.said.push(message.text()));
      pages.push(page);
      // An application's bundler, or an import map, says what "aldis" is.
      const body = code.replace(`"aldis"`, `"/aldis.js"`);
      await page.route("**/example.js", (route) => route.fulfill({ contentType: "text/javascript", body }));
      await page.evaluate(() => import("/example.js"));
    }
    for (const page of pages) {
      await until(() => page.said.includes("they say hello"), "each page hears the other");
      page.checkErrors();
    }
  } finally {
    await browser.close();
    await network.stop();
  }
});
