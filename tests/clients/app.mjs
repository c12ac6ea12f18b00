// A SMART app as its maker would serve it: static pages on an origin of its own, with the npm package `fhirclient`.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";

const page = (script) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>App</title><script src="/fhir-client.js"></script></head>
<body><script>${script}</script></body></html>`;

/**
 * Serves `/launch` and `/` (where codes come back) on a free port of localhost.
 * `settings` are those of `FHIR.oauth2.authorize`, by the name that `/launch?app=` gives.
 * At `/`, `window.client` is the ready client, or `window.failure` says what `ready` rejected with.
 */
export async function serveApp(library, settings) {
  const script = readFileSync(library);
  const launch = () => page(`
    const settings = ${JSON.stringify(settings)}[new URLSearchParams(location.search).get("app")];
    FHIR.oauth2.authorize(settings).catch((error) => { window.failure = String(error); });`);
  const back = page(`
    FHIR.oauth2.ready().then((client) => { window.client = client; }, (error) => { window.failure = String(error); });`);
  const server = createServer((request, answer) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const [type, body] = path === "/fhir-client.js" ? ["text/javascript", script]
      : ["text/html", { "/launch": launch(), "/": back }[path]];
    answer.writeHead(body === undefined ? 404 : 200, { "Content-Type": `${type}; charset=utf-8` });
    answer.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}
