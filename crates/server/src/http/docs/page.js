// What `/docs` adds to the document: the examples come from another server, so the
// page replaces their ids and tokens by those of this server. If the calls are executed from top to
// bottom, unchanged, each succeeds.

// From the ids and tokens of the examples to those of this server; it outlives a reload, as the token does.
const KEPT = "reservix.examples";
const learned = new Map(Object.entries(JSON.parse(localStorage.getItem(KEPT) ?? "{}")));
const changing = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^[\w.-]{40,}$/;

// Walks through an example and a real answer side by side.
function learn(example, real) {
  if (Array.isArray(example) && Array.isArray(real)) {
    example.forEach((part, at) => learn(part, real[at]));
  } else if (example && real && typeof example === "object" && typeof real === "object") {
    Object.keys(example).forEach((key) => learn(example[key], real[key]));
  } else if (typeof example === "string" && typeof real === "string" && changing.test(example)) {
    learned.set(example, real);
  }
}

// Replaces the ids and tokens of the examples by those known here.
function translated(text) {
  for (const [example, real] of learned) text = text.replaceAll(example, real);
  return text;
}

// A text of JSON without its line breaks, if it is one.
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return null;
  }
}

// The example of the answer to what was sent; where that was edited, to the first example of a request.
function exampleOf(operation, status, sent) {
  const examples = operation?.responses?.[status]?.content?.["application/json"]?.examples ?? {};
  const bodies = operation?.requestBody?.content?.["application/json"]?.examples ?? {};
  const named = Object.keys(bodies).find((name) => JSON.stringify(bodies[name].value) === sent);
  return (examples[named] ?? Object.values(examples)[0])?.value;
}

function operationOf(spec, method, url) {
  const path = new URL(url, location.href).pathname;
  const fits = (template) => new RegExp(`^${template.replace(/\{\w+\}/g, "[^/]+")}$`).test(path);
  // The one with the fewest variables: `/bookings/hold` is no booking.
  const paths = Object.keys(spec.paths).filter(fits).filter((it) => spec.paths[it][method]);
  paths.sort((a, b) => a.split("{").length - b.split("{").length);
  return spec.paths[paths[0]]?.[method];
}

// The document, and the request that was sent last, as the page had it.
let document_ = null;
let last = {};

window.onload = function () {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    persistAuthorization: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    displayOperationId: false,
    docExpansion: "list",
    // What takes away comes last of its group.
    operationsSorter: (a, b) => (a.get("method") === "delete") - (b.get("method") === "delete"),
    defaultModelsExpandDepth: 0,
    presets: [SwaggerUIBundle.presets.apis],
    requestInterceptor(request) {
      if (request.loadSpec) return request;
      last = { method: request.method.toLowerCase(), url: request.url, body: request.body };
      request.url = translated(request.url);
      if (typeof request.body === "string") request.body = translated(request.body);
      return request;
    },
    responseInterceptor(response) {
      if (response.url.endsWith("/openapi.json")) {
        document_ = JSON.parse(response.text);
        return response;
      }
      if (!response.ok || !document_ || !(response.headers["content-type"] ?? "").includes("json")) return response;
      const operation = operationOf(document_, last.method, response.url);
      const real = JSON.parse(response.text);
      // What others have made is not learned from.
      if (last.method !== "get") learn(exampleOf(operation, response.status, compact(last.body)), real);
      localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(learned)));
      if (["login", "refresh_tokens"].includes(operation?.operationId)) {
        const schema = document_.components.securitySchemes.bearer;
        window.ui.authActions.authorizeWithPersistOption({
          bearer: { name: "bearer", schema, value: real.access_token },
        });
      }
      return response;
    },
  });
};
