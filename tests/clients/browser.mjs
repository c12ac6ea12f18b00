// The npm package `fhirclient` (SMART JS) in headless Chromium, as a public client on an origin of its own, against
// the real program: sign-in, choice of a patient, consent, data, refresh. Then somebody who oversees the audit ledger looks at its page,
// with scripts switched off.
//
// PHAROS_SHOTS names a folder for pictures of that page, where somebody wants to look at it. PHAROS_BIN is the program, PHAROS_CLIENTS the folder into which tests/clients/install put the packages, and
// PHAROS_CHROMIUM the browser. Prints a line for each check and ends with `N passed, N failed`.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { serveApp } from "./app.mjs";
import { Pharos } from "./server.mjs";

const need = (name) => {
  if (process.env[name]) return process.env[name];
  throw new Error(`${name} is not set`);
};
const packages = createRequire(join(resolve(need("PHAROS_CLIENTS")), "here.js"));
const { chromium } = packages("playwright-core");

const PASSWORD = "nine brass wheels turn 4 sums";
const DATA = "patient/Patient.rs patient/Observation.rs patient/AllergyIntolerance.rs user/Practitioner.rs";
const SCOPES = {
  standalone: `launch/patient openid fhirUser offline_access ${DATA}`,
  ehr: `launch openid fhirUser ${DATA}`,
};

let passed = 0, failed = 0;

/** Runs a check; it passes when it does not throw. */
async function check(title, act) {
  try {
    await act();
    passed += 1;
    console.log(`ok - ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok - ${title}\n  ${String(error.message ?? error).replaceAll("\n", "\n  ")}`);
  }
}

/** What a user does on the server's pages, in a browser without cookies. */
class Visit {
  static async start(browser, server, settings = {}) {
    const visit = new Visit();
    visit.server = server;
    visit.context = await browser.newContext(settings);
    visit.page = await visit.context.newPage();
    return visit;
  }

  heading(text) {
    return this.page.getByRole("heading", { name: text }).waitFor();
  }

  async signIn(name = "grace", password = PASSWORD) {
    await this.heading("Sign in");
    assert.equal(new URL(this.page.url()).origin, this.server, "the page of the server");
    await this.page.getByLabel("User name").fill(name);
    await this.page.getByLabel("Password").fill(password);
    await this.page.getByRole("button", { name: "Sign in" }).click();
  }

  async choosePatient(family) {
    await this.heading("Choose a patient");
    await this.page.getByLabel("Name").fill(family);
    await this.page.getByRole("button", { name: "Search" }).click();
    await this.page.getByRole("radio", { name: family }).check();
    await this.page.getByRole("button", { name: "Go on with this patient" }).click();
  }

  /** Answers the page of consent, and waits for the app to have its token or to hear why not. */
  async consent({ without, allow = true } = {}) {
    await this.heading("to use health data");
    if (without) await this.page.getByRole("checkbox", { name: without }).uncheck();
    await this.page.getByRole("button", { name: allow ? "Allow what is chosen" : "Don’t allow" }).click();
    await this.page.waitForFunction(() => window.client || window.failure);
  }

  /** Runs a function in the page of the app. */
  app(act, argument) {
    return this.page.evaluate(act, argument);
  }

  /** The status with which the app's client is answered. */
  status(path) {
    return this.app((path) => client.request({ url: path, includeResponse: true })
      .then(({ response }) => response.status, (error) => error.status ?? String(error)), path);
  }

  /** The ids of the entries that a search gives the app. */
  ids(search) {
    return this.app((search) => client.request(search)
      .then((bundle) => (bundle.entry ?? []).map((entry) => entry.resource.id)), search);
  }

  end() {
    return this.context.close();
  }
}

async function standalone(visit, launch) {
  await check("standalone: the user signs in, chooses a patient and consents", async () => {
    await visit.page.goto(launch);
    await visit.signIn();
    await visit.choosePatient("Lovelace");
    await visit.consent();
    assert.equal(await visit.app(() => window.failure), undefined);
  });
  await check("standalone: the app is told the chosen patient", async () => {
    assert.equal(await visit.app(() => client.patient.id), "ada");
  });
  await check("standalone: it gets what it asked for", async () => {
    const granted = await visit.app(() => client.state.tokenResponse.scope);
    assert.deepEqual(granted.split(" ").sort(), SCOPES.standalone.split(" ").sort());
  });
  await check("standalone: it reads the patient", async () => {
    assert.equal(await visit.app(() => client.patient.read().then((patient) => patient.name[0].family)), "Lovelace");
  });
  await check("standalone: it searches the patient's data", async () => {
    assert.deepEqual(await visit.ids("Observation?code=29463-7"), ["ada-weight"]);
    assert.deepEqual(await visit.ids("AllergyIntolerance?patient=ada"), ["ada-nuts"]);
  });
  await check("standalone: it learns who signed in, and reads that person", async () => {
    assert.equal(await visit.app(() => client.user.resourceType), "Practitioner");
    assert.equal(await visit.app(() => client.user.read().then((user) => user.name[0].family)), "Hopper");
  });
  await check("standalone: another patient is not there for it", async () => {
    assert.equal(await visit.status("Patient/charles"), 404);
    assert.equal(await visit.status("Observation/charles-weight"), 404);
    assert.deepEqual(await visit.ids("Patient"), ["ada"]);
    assert.deepEqual(await visit.ids("Observation?subject=Patient/charles"), []);
  });
  await check("standalone: types that it did not ask for are forbidden", async () => {
    assert.equal(await visit.status("Condition?patient=ada"), 403);
  });
  await check("standalone: it refreshes, and reads with the new token", () => refresh(visit));
  await check("standalone: a token that is no token is refused", async () => {
    const status = await visit.app((address) => fetch(address, { headers: { Authorization: "Bearer no" } })
      .then((answer) => answer.status), `${visit.server}/fhir/Patient/ada`);
    assert.equal(status, 401);
  });
}

async function refresh(visit) {
  const tokens = () => visit.app(() => {
    const { access_token: access, refresh_token: refresh } = client.state.tokenResponse;
    return { access, refresh };
  });
  const before = await tokens();
  await visit.app(() => client.refresh().then(() => null));
  const after = await tokens();
  assert.ok(after.access && after.access !== before.access, "another access token");
  assert.ok(after.refresh && after.refresh !== before.refresh, "another refresh token");
  assert.equal(await visit.status("Patient/ada"), 200);
  assert.equal(await visit.status("Patient/charles"), 404);
}

async function declined(visit, launch) {
  await check("declined: the user takes one type away", async () => {
    await visit.page.goto(launch);
    await visit.signIn();
    await visit.choosePatient("Lovelace");
    await visit.consent({ without: "Allergies and intolerances" });
    const granted = await visit.app(() => client.state.tokenResponse.scope);
    const rest = SCOPES.standalone.replace("patient/AllergyIntolerance.rs ", "");
    assert.deepEqual(granted.split(" ").sort(), rest.split(" ").sort());
  });
  await check("declined: that type is 403", async () => {
    assert.equal(await visit.status("AllergyIntolerance/ada-nuts"), 403);
    assert.equal(await visit.status("AllergyIntolerance?patient=ada"), 403);
  });
  await check("declined: the rest is 200", async () => {
    for (const path of ["Patient/ada", "Observation/ada-weight", "Observation?patient=ada", "Practitioner/grace"]) {
      assert.equal(await visit.status(path), 200, path);
    }
  });
  await check("declined: a refresh does not bring it back", async () => {
    await visit.app(() => client.refresh().then(() => null));
    assert.equal(await visit.status("AllergyIntolerance/ada-nuts"), 403);
    assert.equal(await visit.status("Observation/ada-weight"), 200);
  });
}

async function refused(visit, launch) {
  await check("refused: the app hears access_denied where the user does not allow it", async () => {
    await visit.page.goto(launch);
    await visit.signIn();
    await visit.choosePatient("Lovelace");
    await visit.consent({ allow: false });
    assert.equal(await visit.app(() => window.client), undefined);
    assert.match(await visit.app(() => window.failure), /access_denied|denied|allow/i);
  });
}

async function ehr(visit, pharos) {
  const context = { client_id: "chart", patient: "charles", intent: "weigh", need_patient_banner: false };
  await check("EHR: a launch is made, and the user signs in and consents without choosing a patient", async () => {
    const token = await pharos.token("ehr", "make_launch");
    const made = await pharos.post("/auth/launch", token, "application/json", JSON.stringify(context));
    await visit.page.goto(made.url);
    await visit.signIn();
    await visit.consent();
    assert.equal(await visit.app(() => window.failure), undefined);
  });
  await check("EHR: the app is told the context of the launch", async () => {
    const told = await visit.app(() => client.state.tokenResponse);
    assert.deepEqual([told.patient, told.intent, told.need_patient_banner], ["charles", "weigh", false]);
    assert.equal(told.refresh_token, undefined);
  });
  await check("EHR: it reads that patient and the patient's data", async () => {
    assert.equal(await visit.app(() => client.patient.read().then((patient) => patient.name[0].family)), "Babbage");
    assert.deepEqual(await visit.ids("Observation"), ["charles-weight"]);
  });
  await check("EHR: another patient is not there for it", async () => {
    assert.equal(await visit.status("Patient/ada"), 404);
    assert.deepEqual(await visit.ids("AllergyIntolerance"), []);
  });
}

/** What an administrator sees of a job that is held up, and its end. */
async function operation(visit, pharos) {
  const { page } = visit;
  const complaints = [];
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  const rows = (table) => page.getByRole("region", { name: table, exact: true }).getByRole("row");
  await check("operation: an administrator finds the page of jobs, on which nothing is under way", async () => {
    await page.goto(`${visit.server}/auth/apps`);
    await visit.signIn("root");
    await page.getByRole("link", { name: "Jobs" }).click();
    await visit.heading("Jobs");
    await page.getByText("Nothing is under way.").waitFor();
  });
  await check("operation: an export whose folder can't be written is seen to be held up, and why", async () => {
    await pharos.beginExport("loader");
    await page.getByRole("link", { name: "Your apps" }).click();
    await page.getByRole("link", { name: "Jobs" }).click();
    for (let n = 0; n < 100 && (await rows("Under way").filter({ hasText: "held up" }).count()) === 0; n++) {
      await page.waitForTimeout(100);
      await page.goto(`${visit.server}/auth/jobs`);
    }
    const row = rows("Under way").filter({ hasText: "Export" });
    assert.match(await row.innerText(), /loader.*held up.*can’t be written|loader.*held up.*can't be written/s);
    await picture(page, "jobs", 1280);
    await picture(page, "jobs", 360);
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "jobs-dark", 1280);
  });
  await check("operation: the page stands still where that is wanted", async () => {
    assert.equal(await page.locator("meta[http-equiv=refresh]").count(), 1);
    await page.getByRole("link", { name: "Let it stand still" }).click();
    assert.equal(await page.locator("meta[http-equiv=refresh]").count(), 0);
  });
  await check("operation: a job is cancelled", async () => {
    await page.getByRole("button", { name: /^Cancel/ }).click();
    assert.match(await page.getByRole("status").innerText(), /The job is cancelled/);
    for (let n = 0; n < 100 && (await rows("Ended").filter({ hasText: "cancelled" }).count()) === 0; n++) {
      await page.waitForTimeout(100);
      await page.goto(`${visit.server}/auth/jobs`);
    }
    await page.getByText("Nothing is under way.").waitFor();
    await picture(page, "jobs-ended", 1280);
  });
  await check("operation: the browser had nothing to complain about", () => assert.deepEqual(complaints, []));
}

/** Checks that a page fits, and keeps a picture of it. */
async function picture(page, name, width) {
  await page.setViewportSize({ width, height: 900 });
  const overflows = await page.locator("html").evaluate((html) => html.scrollWidth > html.clientWidth);
  if (process.env.PHAROS_SHOTS) await page.screenshot({ path: join(process.env.PHAROS_SHOTS, `${name}-${width}.png`), fullPage: true });
  assert.equal(overflows, false, `${name} is wider than ${width} pixels`);
}

/** What somebody who oversees the ledger sees of what the checks before have done. */
async function oversight(visit) {
  const { page } = visit;
  const complaints = [];
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  const figure = async (name) => Number(await page.locator(".figures div", { hasText: name }).locator("dd").innerText());
  const row = (table, text) => page.getByRole("region", { name: table, exact: true }).getByRole("row").filter({ hasText: text });
  const sent = async (button) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button }).click()]);
    return readFileSync(await download.path(), "utf8");
  };

  await check("oversight: a clinician has no part in it", async () => {
    await page.goto(`${visit.server}/auth/audit`);
    await visit.signIn();
    await visit.heading("Your apps");
    assert.equal(await page.getByRole("link", { name: "Audit ledger" }).count(), 0);
    assert.equal((await page.goto(`${visit.server}/auth/audit`)).status(), 403);
    await page.goto(`${visit.server}/auth/apps`);
    await page.getByRole("button", { name: "Sign out" }).click();
  });
  complaints.length = 0;
  await check("oversight: a compliance officer finds the page after a sign-in that failed first", async () => {
    await visit.signIn("olive", "not the password of olive");
    await page.getByRole("alert").waitFor();
    complaints.length = 0; // The browser reports the 401.
    await visit.signIn("olive");
    await page.getByRole("link", { name: "Audit ledger" }).click();
    await visit.heading("Audit ledger");
    assert.ok(await figure("accesses") > 10);
    assert.equal(await figure("failed sign-ins"), 1);
    assert.ok(await figure("refusals") >= 3);
    await picture(page, "ledger", 1280);
    await picture(page, "ledger", 360);
    await page.setViewportSize({ width: 1280, height: 900 });
  });
  await check("oversight: counts over time are a picture with words, and a table", async () => {
    await page.getByRole("img", { name: /Accesses over time.* accesses in all/ }).waitFor();
    await page.getByRole("img", { name: /Failed sign-ins over time.*1 failed sign-ins in all/ }).waitFor();
    await page.getByText("The figures of Failed sign-ins over time").click();
    assert.equal(await row("Failed sign-ins over time", new Date().toISOString().slice(0, 10)).getByRole("cell").innerText(), "1");
  });
  await check("oversight: who has seen a patient's record", async () => {
    await row("By patient", "ada").getByRole("button").click();
    await visit.heading("Who has seen the record of patient ada");
    await row("By user", "grace").first().waitFor();
    assert.equal(await row("By patient", "charles").count(), 0);
    const entries = await row("Entries", "").allInnerTexts();
    assert.ok(entries.length > 10 && entries.slice(1).every((text) => text.includes("ada")), entries.join("; "));
    assert.equal(new URL(page.url()).search, "", "no patient in the address");
    await picture(page, "patient", 1280);
  });
  await check("oversight: the refusals alone", async () => {
    await page.getByRole("link", { name: "Start anew" }).click();
    await page.getByLabel("Outcome").selectOption("refused");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("No patient’s data was given out").waitFor();
    assert.equal(await figure("accesses"), 0);
    assert.ok(await row("Entries", "refused").count() >= 3);
  });
  await check("oversight: a period that is none is said to be none", async () => {
    await page.getByLabel("From").fill("2020-02-01");
    await page.getByRole("button", { name: "Show" }).click();
    assert.match(await page.getByRole("alert").innerText(), /A period has/);
    complaints.length = 0; // The browser reports the 422.
    await page.getByRole("link", { name: "Start anew" }).click();
  });
  await check("oversight: the chain is verified", async () => {
    await page.getByRole("button", { name: "Verify the chain" }).click();
    assert.match(await page.getByRole("status").innerText(), /The chain is whole: \d+ AuditEvents/);
    await picture(page, "verified", 1280);
  });
  await check("oversight: the entries as files", async () => {
    const lines = (await sent("CSV")).trimEnd().split("\r\n");
    assert.match(lines[0], /^id,recorded,event,status,user,/);
    assert.ok(lines.length > 10 && lines.some((line) => line.includes(",sign-in,401,")));
    const events = (await sent("AuditEvents")).trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.ok(events.length >= lines.length - 1 && events.every((event) => event.resourceType === "AuditEvent"));
  });
  await check("oversight: in the dark", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "dark", 1280);
  });
  await check("oversight: the browser had nothing to complain about", () => assert.deepEqual(complaints, []));
}

/** The server with its data, the app on an origin of its own, and the browser; then all checks. */
async function main(folder, endings) {
  const pharos = new Pharos(need("PHAROS_BIN"), folder);
  const library = packages.resolve("fhirclient/build/fhir-client.js");
  const apps = { standalone: { clientId: "chart", scope: SCOPES.standalone }, ehr: { clientId: "chart", scope: SCOPES.ehr } };
  for (const settings of Object.values(apps)) settings.redirectUri = "/";
  const app = await serveApp(library, apps);
  endings.push(() => app.stop());

  pharos.addUser("grace", "Clinical Director", "Practitioner/grace", PASSWORD);
  pharos.addUser("olive", "Compliance Officer", "Practitioner/olive", PASSWORD);
  pharos.addUser("root", "Admin", "Practitioner/root", PASSWORD);
  pharos.addApp("chart", "Chart", `${app.origin}/`, `${app.origin}/launch?app=ehr`, `launch ${SCOPES.standalone}`);
  pharos.addService("loader", "system/*.cruds");
  pharos.addService("ehr", "make_launch");
  // No folder can be made below a file: so exports are held up, and can be looked at.
  const server = await pharos.serve({ PHAROS_BULK__FOLDER: join(folder, "keys.json", "exports") });
  endings.push(() => pharos.stop());
  await pharos.load("loader");

  const args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
  const browser = await chromium.launch({ executablePath: need("PHAROS_CHROMIUM"), args });
  endings.push(() => browser.close());
  const launch = `${app.origin}/launch?app=standalone&iss=${encodeURIComponent(`${server}/fhir`)}`;
  for (const [part, argument] of [[standalone, launch], [declined, launch], [refused, launch], [ehr, pharos]]) {
    const visit = await Visit.start(browser, server);
    await part(visit, argument);
    await visit.end();
  }
  for (const [part, argument] of [[oversight, undefined], [operation, pharos]]) {
    const visit = await Visit.start(browser, server, { javaScriptEnabled: false });
    await part(visit, argument);
    await visit.end();
  }
}

const folder = mkdtempSync(join(tmpdir(), "pharos-clients-"));
const endings = [];
try {
  await main(folder, endings);
} catch (error) {
  await check("the checks can run", () => { throw error; });
} finally {
  for (const end of endings.reverse()) await end();
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
