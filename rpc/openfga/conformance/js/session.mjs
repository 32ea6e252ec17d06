// A session of the unmodified JavaScript SDK, the steps of session_test.go in its words.
// FGA_API_URL names the server; CONFORMANCE_TARGET tells whether it is remit.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { ConsistencyPreference, OpenFgaClient } from "@openfga/sdk";

const apiUrl = process.env.FGA_API_URL;
assert.ok(apiUrl, "FGA_API_URL names no server");
const isRemit = process.env.CONFORMANCE_TARGET === "remit";
const retryParams = { maxRetry: 3, minWaitInMs: 5 };
const connect = (options = {}) => new OpenFgaClient({ apiUrl, retryParams, ...options });
const testdata = async (name) =>
  JSON.parse(await readFile(new URL(`../testdata/http/${name}`, import.meta.url), "utf8"));

const nowhere = "01HVMMBCMGZNTGTTYYYYYYYYYY";
const isID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const key = (object, relation, user) => ({ object, relation, user });
const text = (t) => `${t.object}#${t.relation}@${t.user}`;
const sameSet = (got, want) => assert.deepEqual([...got].sort(), [...want].sort());

// refused asserts the error's class, code, status and message.
async function refused(promise, name, code, status, message) {
  await assert.rejects(promise, (err) => {
    assert.equal(err.name, name);
    assert.equal(err.apiErrorCode, code);
    assert.equal(err.statusCode, status);
    assert.equal(err.responseData.message, message);
    assert.ok(err.responseHeader["x-request-id"], "a refusal without X-Request-Id");
    return true;
  });
}
const invalid = (promise, code, message) => refused(promise, "FgaApiValidationError", code, 400, message);

// flaky passes requests on, once it has refused the first check.
async function flaky(refuse) {
  let checks = 0;
  const server = http.createServer((request, response) => {
    if (request.url.endsWith("/check") && ++checks === 1) {
      refuse(response);
      response.end();
      return;
    }
    const onward = http.request(apiUrl + request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, checks: () => checks, close: () => server.close() };
}

let fga = connect();
let first;

const steps = {
  async stores() {
    const ids = [];
    for (const name of ["js session", "js other", "js session"]) {
      const created = await fga.createStore({ name });
      assert.equal(created.name, name);
      assert.match(created.id, isID);
      ids.push(created.id);
    }
    const found = [];
    let continuationToken;
    do {
      const page = await fga.listStores({ name: "js session", pageSize: 1, continuationToken });
      assert.ok(page.stores.length <= 1);
      found.push(...page.stores.map((s) => s.id));
      continuationToken = page.continuation_token;
    } while (continuationToken);
    sameSet(found, [ids[0], ids[2]]);
    fga.storeId = ids[0];
    const store = await fga.getStore();
    assert.equal(store.id, ids[0]);
    assert.equal(store.name, "js session");
  },

  async models() {
    first = (await fga.writeAuthorizationModel({ schema_version: "1.1", type_definitions: [{ type: "user" }] })).authorization_model_id;
    const second = (await fga.writeAuthorizationModel(await testdata("model.json"))).authorization_model_id;
    fga.authorizationModelId = second;
    const { authorization_model: one } = await fga.readAuthorizationModel({ authorizationModelId: first });
    assert.deepEqual(one, {
      id: first, schema_version: "1.1", conditions: {},
      type_definitions: [{ type: "user", relations: {}, metadata: null }],
    });
    const { authorization_model: latest } = await fga.readLatestAuthorizationModel();
    assert.equal(latest.id, second);
    assert.equal(latest.type_definitions[4].relations.reader.difference.subtract.computedUserset.relation, "blocked");
    const ids = [];
    let continuationToken;
    do {
      const page = await fga.readAuthorizationModels({ pageSize: 1, continuationToken });
      ids.push(...page.authorization_models.map((m) => m.id));
      continuationToken = page.continuation_token;
    } while (continuationToken);
    assert.deepEqual(ids, [second, first]);
  },

  async writes() {
    const tuples = (await testdata("tuples.json")).writes.tuple_keys;
    const all = await fga.write({ writes: tuples });
    assert.equal(all.writes.length, tuples.length);
    const anna = key("document:one", "viewer", "user:anna");
    const nina = key("document:one", "viewer", "user:nina");
    const gone = key("document:one", "viewer", "user:gone");
    await fga.writeTuples([anna]);
    await invalid(fga.write({ writes: [nina, anna] }), "write_failed_due_to_invalid_input",
      "cannot write a tuple which already exists: user: 'user:anna', relation: 'viewer', object: 'document:one': tuple to be written already existed or the tuple to be deleted did not exist");
    assert.equal((await fga.check(nina)).allowed, false);

    const each = await fga.write({ writes: [nina, anna], deletes: [gone] }, { transaction: { disable: true, maxPerChunk: 1, maxParallelRequests: 2 } });
    assert.deepEqual(Object.fromEntries([...each.writes, ...each.deletes].map((r) => [r.tuple_key.user, r.status])),
      { "user:nina": "success", "user:anna": "failure", "user:gone": "failure" });
    assert.equal((await fga.check(nina)).allowed, true);

    await fga.write({ writes: [anna], deletes: [gone] }, { conflict: { onDuplicateWrites: "ignore", onMissingDeletes: "ignore" } });
    await fga.deleteTuples([anna, nina]);
    await invalid(fga.deleteTuples([anna]), "write_failed_due_to_invalid_input",
      "cannot delete a tuple which does not exist: user: 'user:anna', relation: 'viewer', object: 'document:one': tuple to be written already existed or the tuple to be deleted did not exist");
  },

  async reads() {
    const one = await fga.read({ object: "document:draft", relation: "guest" });
    assert.deepEqual(one.tuples.map((t) => t.key), [
      { ...key("document:draft", "guest", "user:gil"), condition: { name: "in_region", context: { wanted: "north" } } },
    ]);
    const found = [];
    let continuationToken;
    do {
      const page = await fga.read({}, { pageSize: 2, continuationToken });
      assert.ok(page.tuples.length <= 2);
      found.push(...page.tuples.map((t) => text(t.key)));
      continuationToken = page.continuation_token;
    } while (continuationToken);
    sameSet(found, (await testdata("tuples.json")).writes.tuple_keys.map(text));
  },

  async changes() {
    const groups = await fga.readChanges({ type: "group" });
    assert.deepEqual(groups.changes.map((c) => [c.operation, text(c.tuple_key)]), [
      ["TUPLE_OPERATION_WRITE", "group:design#member@user:anna"],
      ["TUPLE_OPERATION_WRITE", "group:all#member@group:design#member"],
    ]);
    const continuationToken = groups.continuation_token;
    const same = await fga.readChanges({ type: "group" }, { continuationToken });
    assert.deepEqual(same, { ...same, changes: [], continuation_token: continuationToken });
    const late = key("group:late", "member", "user:lena");
    await fga.writeTuples([late]);
    await fga.deleteTuples([late]);
    const more = await fga.readChanges({ type: "group" }, { continuationToken });
    assert.deepEqual(more.changes.map((c) => [c.operation, text(c.tuple_key)]), [
      ["TUPLE_OPERATION_WRITE", text(late)],
      ["TUPLE_OPERATION_DELETE", text(late)],
    ]);
    const since = await fga.readChanges({ type: "group", startTime: new Date(Date.now() - 3600e3).toISOString() });
    assert.equal(since.changes.length, 4);
  },

  async checks() {
    const allowed = async (question, options) => (await fga.check(question, options)).allowed;
    assert.equal(await allowed(key("document:plan", "viewer", "user:anna")), true);
    assert.equal(await allowed(key("document:plan", "reader", "user:anna")), false);
    assert.equal(await allowed(key("document:notice", "viewer", "user:stranger")), true);
    const guest = key("document:draft", "guest", "user:gil");
    assert.equal(await allowed({ ...guest, context: { region: "north", level: 3 } }), true);
    assert.equal(await allowed({ ...guest, context: { region: "north", level: 2 } }), false);
    await invalid(fga.check(guest), "validation_error",
      "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'");
    const nina = key("document:plan", "viewer", "user:nina");
    const contextualTuples = [key("group:design", "member", "user:nina")];
    assert.equal(await allowed({ ...nina, contextualTuples }, { consistency: ConsistencyPreference.HigherConsistency }), true);
    assert.equal(await allowed(nina), false);
    await invalid(fga.check(nina, { authorizationModelId: first }), "validation_error", "invalid relation: type 'document' not found");
  },

  async batches() {
    const questions = ["viewer", "reader", "printer"].map((relation) => key("document:plan", relation, "user:anna"));
    const each = await fga.clientBatchCheck(questions);
    assert.deepEqual(Object.fromEntries(each.result.map((r) => [r._request.relation, r.allowed])), { viewer: true, reader: false, printer: undefined });

    const checks = questions.map((q) => ({ ...q, correlationId: q.relation }));
    checks.push({ ...key("document:plan", "viewer", "user:nina"), correlationId: "context", contextualTuples: { tuple_keys: [key("group:design", "member", "user:nina")] } });
    checks.push({ ...key("document:draft", "guest", "user:gil"), correlationId: "condition", context: { region: "north", level: 3 } });
    for (let i = 0; i < 60; i++) {
      checks.push({ ...key("document:plan", "owner", "user:otto"), correlationId: `owner-${i}` });
    }
    const { result } = await fga.batchCheck({ checks });
    assert.equal(result.length, checks.length);
    assert.equal(result.filter((r) => r.allowed).length, 63);
    const byID = Object.fromEntries(result.map((r) => [r.correlationId, r]));
    assert.equal(byID.reader.allowed, false);
    assert.equal(byID.printer.error.input_error, "validation_error");
    assert.equal(byID.printer.error.message, "invalid relation: relation 'document#printer' not found");
  },

  async lists() {
    const question = { type: "document", relation: "viewer", user: "user:anna" };
    const views = ["document:plan", "document:draft", "document:notice"];
    sameSet((await fga.listObjects(question)).objects, views);
    const streamed = [];
    for await (const { object } of fga.streamedListObjects(question)) {
      streamed.push(object);
    }
    sameSet(streamed, views);
    const nina = await fga.listObjects({ ...question, user: "user:nina", contextualTuples: [key("document:extra", "owner", "user:nina")] });
    sameSet(nina.objects, ["document:extra", "document:notice"]);
    const gil = await fga.listObjects({ type: "document", relation: "guest", user: "user:gil", context: { region: "north", level: 3 } });
    sameSet(gil.objects, ["document:draft"]);

    const { relations } = await fga.listRelations({ object: "document:plan", user: "user:anna", relations: ["viewer", "reader", "owner", "blocked"] });
    sameSet(relations, ["viewer", "blocked"]);

    const users = async (id, relation, filter) => (await fga.listUsers({ object: { type: "document", id }, relation, user_filters: [filter] })).users;
    assert.deepEqual(await users("plan", "owner", { type: "user" }), [{ object: { type: "user", id: "otto" } }]);
    assert.deepEqual(await users("notice", "viewer", { type: "user" }), [{ wildcard: { type: "user" } }]);
    assert.deepEqual(await users("draft", "editor", { type: "group", relation: "member" }), [{ userset: { type: "group", id: "design", relation: "member" } }]);
  },

  async expand() {
    const { tree } = await fga.expand({ object: "document:plan", relation: "viewer" });
    const name = "document:plan#viewer";
    assert.deepEqual(tree.root, {
      name,
      union: { nodes: [
        { name, leaf: { users: { users: [] } } },
        { name, leaf: { computed: { userset: "document:plan#editor" } } },
        { name, leaf: { tupleToUserset: { tupleset: "document:plan#parent", computed: [{ userset: "folder:plans#viewer" }] } } },
      ] },
    });
  },

  async assertions() {
    assert.deepEqual((await fga.readAssertions()).assertions, []);
    await fga.writeAssertions([{ ...key("document:plan", "viewer", "user:anna"), expectation: true }]);
    assert.deepEqual((await fga.readAssertions()).assertions, [
      { tuple_key: key("document:plan", "viewer", "user:anna"), expectation: true, contextual_tuples: [], context: null },
    ]);
  },

  async errors() {
    await refused(fga.getStore({ storeId: nowhere }), "FgaApiNotFoundError", "store_id_not_found", 404, "Store ID not found");
    await invalid(fga.check(key("document:plan", "viewer", "user:anna"), { authorizationModelId: nowhere }),
      "authorization_model_not_found", `Authorization Model '${nowhere}' not found`);
    await invalid(fga.check(key("plan", "viewer", "user:anna")), "validation_error", "invalid relation: invalid 'object' field format");
    await invalid(fga.write({ writes: [key("document:one", "owner", "robot:r2")] }), "validation_error",
      "Invalid tuple 'document:one#owner@robot:r2'. Reason: type 'robot' not found");
    await invalid(fga.listStores({ pageSize: 101 }), "page_size_invalid", "invalid ListStoresRequest.PageSize: value must be inside range [1, 100]");
    await invalid(fga.readChanges({ type: "document" }, { continuationToken: "bad" }), "invalid_continuation_token", "Invalid continuation token");
  },

  async retries() {
    for (const refuse of [
      (response) => response.writeHead(429, { "Retry-After": "1" }),
      (response) => response.writeHead(503),
    ]) {
      const proxy = await flaky(refuse);
      try {
        const client = connect({ apiUrl: proxy.url, storeId: fga.storeId });
        assert.equal((await client.check(key("document:plan", "viewer", "user:anna"))).allowed, true);
        assert.equal(proxy.checks(), 2);
      } finally {
        proxy.close();
      }
    }
  },

  async readYourWrites() {
    // The SDK keeps the answer of a request beside its fields.
    const { $response } = await fga.check(key("document:plan", "viewer", "user:anna"));
    const token = $response.headers["remit-token"];
    assert.equal(Boolean(token), isRemit);
    const answer = await fga.check(key("document:plan", "viewer", "user:anna"), { headers: { "Remit-Token": token ?? "none" } });
    assert.equal(answer.allowed, true);
  },

  async deleteStore() {
    await fga.deleteStore();
    await refused(fga.getStore(), "FgaApiNotFoundError", "store_id_not_found", 404, "Store ID not found");
    await fga.deleteStore();
  },
};

for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
  } catch (err) {
    console.error(`${name} failed`);
    throw err;
  }
}
console.log(`${Object.keys(steps).length} steps of @openfga/sdk pass on ${process.env.CONFORMANCE_TARGET ?? apiUrl}`);
