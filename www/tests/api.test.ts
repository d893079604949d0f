import { describe, expect, test } from "vitest";
import { Api, ApiError, encodeQuery, explain } from "../src/lib/api";

interface Call {
  url: string;
  init: RequestInit | undefined;
}

function apiAnswering(status: number, body: unknown, headers: Record<string, string> = {}): { api: Api; calls: Call[] } {
  const calls: Call[] = [];
  const api = new Api("http://ci.example.org/sub/api/v2", (url, init) => {
    calls.push({ url, init });
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return Promise.resolve(new Response(text, { status, headers }));
  });
  return { api, calls };
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await promise.then(
    () => null,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

describe("reading", () => {
  test("a collection comes with its total, under whatever plural name", async () => {
    const { api, calls } = apiAnswering(200, { builds: [{ buildid: 3 }], meta: { total: 7 } });
    const page = await api.list("builders/2/builds", { order: "-number", limit: 1, property: ["a", "b"], field: undefined });
    expect(page).toEqual({ items: [{ buildid: 3 }], total: 7 });
    expect(calls[0]?.url).toBe("http://ci.example.org/sub/api/v2/builders/2/builds?order=-number&limit=1&property=a&property=b");
  });

  test("a single resource is the only item", async () => {
    const { api } = apiAnswering(200, { meta: {}, builders: [{ builderid: 1 }] });
    expect(await api.one("builders/1")).toEqual({ builderid: 1 });
  });

  test("a missing resource is `not-found`, with the server's text", async () => {
    const { api } = apiAnswering(404, { error: "not found while getting builder" });
    const error = await failure(api.one("builders/99"));
    expect(error.kind).toBe("not-found");
    expect(explain(error)).toContain("not found while getting builder");
  });

  test("an answer that is no JSON is an error of its status, not an exception of the parser", async () => {
    const { api } = apiAnswering(502, "<html>Bad gateway</html>");
    expect((await failure(api.list("builds"))).kind).toBe("server");
  });

  test("a proxy's 404 does not say that something is not there", async () => {
    const { api } = apiAnswering(404, "404 page not found");
    expect((await failure(api.one("builders/1"))).kind).toBe("unreachable");
    expect((await failure(api.control("builds/1", "stop"))).kind).toBe("unreachable");
  });

  test("a network failure is `unreachable`", async () => {
    const api = new Api("http://x/api/v2", () => Promise.reject(new TypeError("fetch failed")));
    expect((await failure(api.list("builds"))).kind).toBe("unreachable");
    // Of a control call nobody knows whether it arrived.
    expect(explain(await failure(api.control("builds/1", "stop")))).toContain("may not have heard");
  });

  test("the server's clock is learnt from its answers", async () => {
    const ahead = new Date(Date.now() + 3_600_000).toUTCString();
    const { api } = apiAnswering(200, { builds: [], meta: {} }, { Date: ahead });
    await api.list("builds");
    expect(Math.abs(api.clockOffset - 3600)).toBeLessThan(3);
  });
});

describe("control calls", () => {
  test("a call is JSON-RPC and resolves to its result", async () => {
    const { api, calls } = apiAnswering(200, { jsonrpc: "2.0", id: 1, result: [5, { "2": 9 }] });
    expect(await api.control("builds/1", "rebuild")).toEqual([5, { "2": 9 }]);
    expect(JSON.parse(String(calls[0]?.init?.body))).toEqual({ jsonrpc: "2.0", id: 1, method: "rebuild", params: {} });
  });

  test("refused force values come by field", async () => {
    const message = { tag: "no", mode: "bad choice" };
    const { api } = apiAnswering(400, { jsonrpc: "2.0", id: 1, error: { code: -32602, message } });
    const error = await failure(api.control("forceschedulers/f", "force"));
    expect(error.fields).toEqual(message);
  });

  test("a refusal names the role and the setting", async () => {
    const { api } = apiAnswering(403, { error: { code: -32600, message: "you need to have role 'admin'" } });
    const text = explain(await failure(api.control("builds/1", "stop")));
    expect(text).toContain("role 'admin'");
    expect(text).toContain("authz");
  });

  test("a refusal is told to whoever knows about logins", async () => {
    const { api } = apiAnswering(403, { error: { code: -32600, message: "you need to have role 'admin'" } });
    let refusals = 0;
    api.refused = () => refusals++;
    await failure(api.control("builds/1", "stop"));
    await failure(api.list("builds"));
    expect(refusals).toBe(2);
  });

  test("a null result is a success", async () => {
    const { api } = apiAnswering(200, { jsonrpc: "2.0", id: 1, result: null });
    expect(await api.control("builds/1", "stop")).toBeNull();
  });
});

test("queries escape their values", () => {
  expect(encodeQuery({ name__eq: "deploy prod&x", complete: false })).toBe("?name__eq=deploy+prod%26x&complete=false");
  expect(encodeQuery({})).toBe("");
});
