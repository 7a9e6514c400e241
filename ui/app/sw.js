// The service worker: lets the page start when its server does not answer.
//
// The server always comes first, so a page is never older than its server's. What the server sends is stored for later, as a whole:
// the page and all files that it names, in a cache of their own. No build step lists the files; their names are in the page.
// Everything else, such as the relay's /ws, /stream and /metrics, is none of its business.

const PREFIX = "joey-page-";
const SCOPE = new URL("./", self.location);
// How long to wait for a server before the stored page is shown, in milliseconds.
const PATIENCE_MS = 4000;
// Files whose names do not change with their content.
const FIXED = ["manifest.webmanifest", "icon.svg", "icon-192.png", "icon-512.png", "icon-maskable-512.png"];

const isPage = (url) => url.href.split(/[?#]/)[0] === SCOPE.href || url.pathname === SCOPE.pathname + "index.html";
const isOwnFile = (url) => url.href.startsWith(SCOPE.href) && /-[0-9a-f]{8,}[^/]*\.(js|wasm|css)$/.test(url.pathname);
const isFixed = (url) => FIXED.some((name) => url.href === SCOPE.href + name);

// The names of caches of this page: others of the same origin may belong to Joey under another path.
const ownCaches = async () => (await caches.keys()).filter((name) => name.startsWith(PREFIX + SCOPE.pathname + "@"));

async function cacheName(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = [...new Uint8Array(digest).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${PREFIX}${SCOPE.pathname}@${hex}`;
}

// The files that a page names, in attributes and in its scripts.
function filesOf(text) {
  const names = text.match(/[\w./-]*-[0-9a-f]{8,}[\w-]*\.(?:js|wasm|css)\b/g) ?? [];
  return [...new Set(names.map((name) => new URL(name, SCOPE).href))].filter((address) => address.startsWith(SCOPE.href));
}

// Stores a page with its files, and then forgets all others. If a file is missing, nothing changes.
async function store(response) {
  const text = await response.clone().text();
  if (!/name="?joey-relay/.test(text)) return;
  const name = await cacheName(text);
  if (await caches.has(name)) return;
  const files = filesOf(text);
  const answers = await Promise.all([...files, ...FIXED.map((file) => SCOPE.href + file)].map((file) => fetch(file)));
  if (answers.slice(0, files.length).some((answer) => !answer.ok)) return;
  const cache = await caches.open(name);
  await Promise.all(answers.filter((answer) => answer.ok).map((answer) => cache.put(answer.url, answer)));
  // Last: a cache with a page is complete.
  await cache.put(SCOPE.href, new Response(text, { headers: response.headers }));
  const others = (await ownCaches()).filter((other) => other !== name);
  await Promise.all(others.map((other) => caches.delete(other)));
}

async function stored(address) {
  for (const name of (await ownCaches()).reverse()) {
    const found = await (await caches.open(name)).match(address);
    if (found) return found;
  }
  return undefined;
}

async function answerPage(event) {
  const answer = fetch(event.request);
  // The browser keeps the worker alive until the page is stored.
  const isUseful = (response) => response.ok && response.type === "basic" && !response.redirected;
  event.waitUntil(answer.then((response) => isUseful(response) && store(response.clone())).catch(() => {}));
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const first = await Promise.race([answer.catch(() => undefined), late]);
  // A proxy in front of a relay that is gone answers with 502 to 504.
  if (first && ![502, 503, 504].includes(first.status)) return first;
  return (await stored(SCOPE.href)) ?? answer;
}

async function answerFile(event) {
  return (await stored(event.request.url)) ?? fetch(event.request);
}

async function answerFixed(event) {
  try {
    return await fetch(event.request);
  } catch (error) {
    const found = await stored(event.request.url);
    if (found) return found;
    throw error;
  }
}

self.addEventListener("install", (event) => {
  const page = fetch(SCOPE.href, { cache: "no-cache" });
  event.waitUntil(page.then((response) => response.ok && store(response)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET") return;
  if (request.mode === "navigate" && isPage(url)) event.respondWith(answerPage(event));
  else if (isOwnFile(url)) event.respondWith(answerFile(event));
  else if (isFixed(url)) event.respondWith(answerFixed(event));
});
