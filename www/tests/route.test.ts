import { expect, test } from "vitest";
import { href, parseQuery, parseRoute, safeLink } from "../src/lib/route";

test("Buildbot's addresses", () => {
  expect(parseRoute("")).toEqual({ page: "builders" });
  expect(parseRoute("#/")).toEqual({ page: "builders" });
  expect(parseRoute("#/builders?tags=ci")).toEqual({ page: "builders" });
  expect(parseRoute("#/builders/7")).toEqual({ page: "builder", builder: "7" });
  expect(parseRoute("#/builders/deploy%20prod/builds/12")).toEqual({ page: "build", builder: "deploy prod", number: 12 });
  expect(parseRoute("#/builders/1/builds/2/steps/3/logs/stdio")).toEqual({
    page: "log",
    builder: "1",
    number: 2,
    step: 3,
    slug: "stdio",
  });
  expect(parseRoute("#/buildrequests/20?redirect_to_build=true")).toEqual({ page: "request", id: 20 });
  expect(parseRoute("#/pendingbuildrequests")).toEqual({ page: "pending" });
  expect(parseRoute("#/workers")).toEqual({ page: "workers" });
  expect(parseRoute("#/workers/4")).toEqual({ page: "worker", id: 4 });
  expect(parseRoute("#/changes/12")).toEqual({ page: "change", id: 12 });
  expect(parseRoute("#/schedulers")).toEqual({ page: "schedulers" });
  expect(parseRoute("#/masters")).toEqual({ page: "masters" });
  expect(parseRoute("#/masters/2")).toEqual({ page: "masters" });
});

test.each(["#/nope", "#/builders/1/build/2", "#/builders/1/builds/x", "#/buildrequests/x", "#/workers/x", "#/changes/1/2", "#/builders/1/builds/2/steps/3/nope/x", "#/%zz"])(
  "%s is no page",
  (hash) => {
    expect(parseRoute(hash).page).toBe("not-found");
  },
);

test("what is written can be read", () => {
  expect(parseRoute(href.builder("a/b c"))).toEqual({ page: "builder", builder: "a/b c" });
  expect(parseRoute(href.log(4, 5, 6, "a.b"))).toEqual({ page: "log", builder: "4", number: 5, step: 6, slug: "a.b" });
  expect(parseRoute(href.request(3))).toEqual({ page: "request", id: 3 });
  expect(parseQuery("#/builders?tags=a&tags=b").getAll("tags")).toEqual(["a", "b"]);
});

test("links of jobs lead to the web or into this page, nowhere else", () => {
  const site = "http://ci.example.org/sub/";
  expect(safeLink("http://ci.example.org/sub/#/buildrequests/3", site)).toBe("#/buildrequests/3");
  expect(safeLink("https://example.org/report?x=1", site)).toBe("https://example.org/report?x=1");
  expect(safeLink("javascript:alert(1)", site)).toBeNull();
  expect(safeLink("data:text/html,<script>1</script>", site)).toBeNull();
  expect(safeLink("not an address", site)).toBeNull();
});
