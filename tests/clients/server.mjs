// The real program on a store of its own, registered clients, and tokens for backend services.

import { spawn, spawnSync } from "node:child_process";
import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

// PHAROS_* are settings of the server, and it refuses those that it doesn't know.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("PHAROS_")));

/** A key pair for ES384, and the assertions that it signs. */
export class Key {
  #pair = generateKeyPairSync("ec", { namedCurve: "P-384" });

  jwks() {
    const key = this.#pair.publicKey.export({ format: "jwk" });
    return { keys: [{ ...key, kid: "one", use: "sig", alg: "ES384" }] };
  }

  assertion(client, audience) {
    const base64 = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + 240;
    const claims = { iss: client, sub: client, aud: audience, exp, jti: randomUUID() };
    const signed = `${base64({ alg: "ES384", kid: "one" })}.${base64(claims)}`;
    const key = { key: this.#pair.privateKey, dsaEncoding: "ieee-p1363" };
    return `${signed}.${sign("sha384", Buffer.from(signed), key).toString("base64url")}`;
  }
}

/** The program with a store below a folder. Its commands need the store closed, so they come before `serve`. */
export class Pharos {
  #key = new Key();
  #process;

  constructor(program, folder) {
    this.program = program;
    this.folder = folder;
    this.store = `file:${join(folder, "data")}`;
  }

  #run(words, input) {
    const done = spawnSync(this.program, [...words, "--store", this.store], { env: environment, input, encoding: "utf8" });
    if (done.status !== 0) throw new Error(`${words.join(" ")}: ${done.error ?? done.stderr}`);
  }

  addUser(name, role, person, password) {
    this.#run(["user", "add", name, "--role", role, "--fhir-user", person, "--password-stdin"], `${password}\n`);
  }

  addApp(id, name, redirect, launch, scope) {
    this.#run(["client", "add", "--id", id, "--name", name, "--redirect-uri", redirect, "--launch-url", launch, "--scope", scope]);
  }

  /** A client that gets tokens for itself by its key. */
  addService(id, scope) {
    const file = join(this.folder, "keys.json");
    writeFileSync(file, JSON.stringify(this.#key.jwks()));
    const proof = ["--auth-method", "private_key_jwt", "--jwks", file, "--grant-type", "client_credentials"];
    this.#run(["client", "add", "--id", id, "--name", id, "--scope", scope, ...proof]);
  }

  /** Serves on a free port, with these settings, and gives the address. */
  async serve(settings = {}) {
    const words = ["serve", "--store", this.store, "--listen", "127.0.0.1:0"];
    const env = { ...environment, PHAROS_LOG_FORMAT: "json", ...settings };
    this.#process = spawn(this.program, words, { env, stdio: ["ignore", "ignore", "pipe"] });
    this.address = await new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("exit", () => reject(new Error("the server did not start")));
      createInterface({ input: this.#process.stderr }).on("line", (line) => {
        const found = line.match(/"address":"([^"]+)"/);
        if (found) resolve(`http://${found[1]}`);
      });
    });
    return this.address;
  }

  async stop() {
    if (!this.#process || this.#process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGTERM");
    await ended;
  }

  /** An access token, as SMART Backend Services gets it. */
  async token(client, scope) {
    const discovered = await fetch(`${this.address}/fhir/.well-known/smart-configuration`);
    const { token_endpoint: endpoint } = await discovered.json();
    const body = new URLSearchParams({
      grant_type: "client_credentials",
      scope,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: this.#key.assertion(client, endpoint),
    });
    const answer = await fetch(endpoint, { method: "POST", body });
    if (!answer.ok) throw new Error(`no token for ${client}: ${await answer.text()}`);
    return (await answer.json()).access_token;
  }

  /** Begins an export of all patients. */
  async beginExport(client) {
    const headers = { Authorization: `Bearer ${await this.token(client, "system/*.rs")}`, Prefer: "respond-async" };
    const answer = await fetch(`${this.address}/fhir/Patient/$export`, { headers });
    if (answer.status !== 202) throw new Error(`$export: ${answer.status} ${await answer.text()}`);
  }

  /** Sends JSON with a token, and gives the answer's JSON. */
  async post(path, token, type, text) {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": type };
    const answer = await fetch(this.address + path, { method: "POST", headers, body: text });
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Loads the data that the checks are about. */
  async load(client) {
    const data = readFileSync(new URL("data.json", import.meta.url));
    await this.post("/fhir", await this.token(client, "system/*.cruds"), "application/fhir+json", data);
  }
}
